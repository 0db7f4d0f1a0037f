<?php
/*
 * What lies on the firewall under kmsctl's names. Which of it still has something to do, and which is left over, is judged by
 * src/domain/pfsense/leftovers.rs. Writes nothing.
 */

/* Every file of ours but the lock, hidden half-written ones too. */
function kmsctl_files() {
	$state = kmsctl_state_directory();
	$cron = kmsctl_path('etc_path', '/etc') . '/cron.d';
	$found = array();
	foreach (array("{$cron}/kmsctl-*", "{$cron}/.kmsctl-*.new", "{$state}/revert-*.php", "{$state}/config-*.xml",
	    "{$state}/lost-*.xml", "{$state}/change-*.json", "{$state}/.*.new", "{$state}/.claim-*", "{$state}/.trial-*",
	    kmsctl_hidden_path('*')) as $names) {
		$paths = glob($names);
		foreach (is_array($paths) ? $paths : array() as $path) {
			$found[] = array('path' => $path, 'since' => (int) @filemtime($path), 'orphaned' => kmsctl_is_orphaned($path));
		}
	}
	return array_slice($found, 0, 1000);
}

/* Whether the process that a file is named after has ended. A script that reads starts no program to find it out. */
function kmsctl_is_orphaned($path) {
	return preg_match('#/\.(?:claim|trial)-([0-9]+)$#', $path, $process) && function_exists('posix_kill')
	    && !posix_kill((int) $process[1], 0);
}

/* Whose the lock is or was. */
function kmsctl_holder() {
	$held = json_decode((string) @file_get_contents(kmsctl_lock_path()), true);
	return is_array($held) ? kmsctl_running($held) : null;
}

/* The lock dies with its process; what it says may stay. While a change is made this fails at once; it is not even
 * tried where nobody has said anything, so that looking is in nobody's way. */
function kmsctl_lock_standing() {
	$holder = kmsctl_holder();
	if (!isset($holder['who']) || !is_string($holder['who'])) {
		return null;
	}
	$file = @fopen(kmsctl_lock_path(), 'r');
	$free = $file !== false && flock($file, LOCK_SH | LOCK_NB);
	return array('path' => kmsctl_lock_path(), 'since' => (int) @filemtime(kmsctl_lock_path()), 'who' => $holder['who'],
	    'held' => !$free);
}
?>
