<?php
/*
 * What lies on the firewall under kmsctl's names: which of it still has something to do, and which is left over. Writes
 * nothing.
 */

/* Every file of ours: its path => array(kind, id). Hidden ones are half-written. */
function kmsctl_files() {
	$state = kmsctl_state_directory();
	$cron = dirname(kmsctl_path('etc_path', '/etc') . '/cron.d/x');
	$found = array();
	foreach (array(
		array("{$cron}/kmsctl-*", '#/kmsctl-([^/]+)$#', 'job'),
		array("{$state}/revert-*.php", '#/revert-([^/]+)\.php$#', 'job'),
		array("{$state}/config-*.xml", '#/config-([^/]+)\.xml$#', 'job'),
		array("{$state}/change-*.json", '#/change-([^/]+)\.json$#', 'change'),
		array("{$state}/lost-*.xml", '#/lost-([^/]+)-(?:[0-9]+|damaged)\.xml$#', 'lost'),
		array(dirname($state) . '/.kmsctl-*.xml', '#/(\.kmsctl-[^/]+)$#', 'half'),
		array("{$state}/.*.new", '#/(\.[^/]+)$#', 'half'),
		array("{$state}/.claim-*", '#/(\.[^/]+)$#', 'half'),
		array("{$state}/.trial-*", '#/(\.[^/]+)$#', 'half'),
		array("{$cron}/.kmsctl-*.new", '#/(\.[^/]+)$#', 'half'),
	) as $kind) {
		$paths = glob($kind[0]);
		foreach (is_array($paths) ? $paths : array() as $path) {
			if (preg_match($kind[1], $path, $name)) {
				$found[$path] = array($kind[2], $name[1]);
			}
		}
	}
	ksort($found);
	return $found;
}

/* An outcome stays for a week, to be asked about. */
function kmsctl_is_old($stored) {
	return $stored['phase'] === 'ended' && $stored['revert_at'] === null && $stored['since'] < time() - 604800
	    && !kmsctl_is_needed($stored);
}

/* Whether a process may still be writing a half-written file: the one that its name tells, or whoever holds the lock. */
function kmsctl_is_written($path, $name) {
	$age = time() - (int) @filemtime($path);
	if (preg_match('/^\.(?:claim|trial)-([0-9]+)$/', $name, $process)) {
		/* A script that reads starts no program. */
		$runs = !function_exists('posix_kill') || posix_kill((int) $process[1], 0);
		return $runs && $age < 3600;
	}
	$held = kmsctl_lock_standing();
	return $held !== null && !$held[0] ? $age < 3600 : $age < 10;
}

/* array(whether it is left over, why), or null for a file that is where it belongs. */
function kmsctl_standing($path, $kind, $id) {
	if ($kind === 'half') {
		return kmsctl_is_written($path, $id) ? null : array(true, 'it was never finished');
	}
	$stored = kmsctl_stored($id);
	if ($stored === null) {
		if ($kind === 'change') {
			return array(true, 'it cannot be read');
		}
		return array(true, is_file(kmsctl_stored_path($id)) ? 'the record of its change cannot be read'
		    : 'no change of this name is kept here');
	}
	if ($kind === 'change' || $kind === 'lost') {
		return kmsctl_is_old($stored) ? array(true, 'its change ended more than a week ago') : null;
	}
	if ($stored['phase'] !== 'ended') {
		return array(false, "the change {$id} by {$stored['who']} is not finished");
	}
	if ($stored['revert_at'] !== null) {
		$at = gmdate('Y-m-d H:i:s', $stored['revert_at']);
		return array(false, "it takes back the change {$id} by {$stored['who']} at {$at} UTC");
	}
	return array(true, "the change {$id} has ended, and nothing takes it back");
}

/* Whose the lock is or was. */
function kmsctl_holder() {
	$held = json_decode((string) @file_get_contents(kmsctl_state_directory() . '/lock'), true);
	if (!is_array($held)) {
		return null;
	}
	unset($held['pid']);
	return $held;
}

/* The lock dies with its process; what it says may stay. While a change is made this fails at once; it is not even
 * tried where nobody has said anything, so that looking is in nobody's way. */
function kmsctl_lock_standing() {
	$held = kmsctl_holder();
	if (!isset($held['who'])) {
		return null;
	}
	$file = @fopen(kmsctl_state_directory() . '/lock', 'r');
	$free = $file !== false && flock($file, LOCK_SH | LOCK_NB);
	if ($file !== false) {
		fclose($file);
	}
	return $free ? array(true, "the process of {$held['who']} that held it has ended") : array(false, "{$held['who']} holds it");
}

function kmsctl_leftovers() {
	$found = array();
	$standing = kmsctl_lock_standing();
	if ($standing !== null) {
		$path = kmsctl_state_directory() . '/lock';
		$found[] = array('path' => $path, 'since' => (int) @filemtime($path), 'stale' => $standing[0], 'why' => $standing[1]);
	}
	foreach (kmsctl_files() as $path => $file) {
		$standing = kmsctl_standing($path, $file[0], $file[1]);
		if ($standing !== null && count($found) < 200) {
			$found[] = array('path' => $path, 'since' => (int) @filemtime($path), 'stale' => $standing[0],
			    'why' => substr($standing[1], 0, 200));
		}
	}
	return $found;
}
?>
