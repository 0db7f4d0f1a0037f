<?php
/*
 * What kmsctl keeps on the firewall, and reading it: one file for each change under /conf/kmsctl. Writes nothing.
 *
 * /conf and not /var or /tmp: those can be memory disks on pfSense, and an armed rollback must survive a reboot.
 */

function kmsctl_path($key, $otherwise) {
	global $g;
	return isset($g[$key]) && is_string($g[$key]) && $g[$key] !== '' ? $g[$key] : $otherwise;
}

/* Where config.xml lies. The armed job, which looks before pfSense's code is loaded, lies in our directory beside it. */
function kmsctl_conf() {
	global $kmsctl_request;
	return $kmsctl_request['action']['name'] === 'revert' ? dirname(__DIR__) : kmsctl_path('conf_path', '/conf');
}

function kmsctl_state_directory() {
	return kmsctl_conf() . '/kmsctl';
}

function kmsctl_stored_path($id) {
	return kmsctl_state_directory() . "/change-{$id}.json";
}

function kmsctl_job_path($id) {
	return kmsctl_state_directory() . "/revert-{$id}.php";
}

function kmsctl_lock_path() {
	return kmsctl_state_directory() . '/lock';
}

/* The second name under which a good copy waits to take the place of a damaged config.xml. */
function kmsctl_hidden_path($id) {
	return kmsctl_conf() . "/.kmsctl-{$id}.xml";
}

/* What is stored of a change; null where it is not all that every kmsctl has stored. */
function kmsctl_read_stored($path) {
	$stored = json_decode((string) @file_get_contents($path), true);
	$is_whole = isset($stored['id'], $stored['phase'], $stored['who'], $stored['what'], $stored['since'],
	    $stored['service']['port'], $stored['service']['interface'], $stored['service']['alias'], $stored['outcome']['result'])
	    && basename($path) === "change-{$stored['id']}.json" && is_string($stored['who']) && is_string($stored['what'])
	    && is_int($stored['since']) && is_int($stored['service']['port']) && is_string($stored['service']['interface'])
	    && is_string($stored['service']['alias'])
	    && array_key_exists('revert_at', $stored) && ($stored['revert_at'] === null || is_int($stored['revert_at']))
	    && array_key_exists('reverted', $stored['outcome']);
	return $is_whole ? $stored : null;
}

function kmsctl_stored($id) {
	return kmsctl_read_stored(kmsctl_stored_path($id));
}

/* All of them, oldest first. */
function kmsctl_all_stored() {
	$paths = glob(kmsctl_state_directory() . '/change-*.json');
	$found = array_filter(array_map('kmsctl_read_stored', is_array($paths) ? $paths : array()));
	usort($found, function ($one, $other) {
		return array($one['since'], $one['id']) <=> array($other['since'], $other['id']);
	});
	return $found;
}

function kmsctl_running($stored) {
	return array_intersect_key($stored, array_flip(array('id', 'who', 'what', 'since')));
}

/* The changes that are kept here, oldest first. What they still do is judged by src/domain/pfsense/stored.rs. What a
 * deletion of these rules took away is kept nowhere else. */
function kmsctl_changes($service) {
	return array_map(function ($stored) use ($service) {
		$deletes = isset($stored['kind']) && $stored['kind'] === 'delete' && $stored['phase'] === 'ended'
		    && in_array($stored['outcome']['result'], array('done', 'unproven'), true);
		return kmsctl_running($stored) + array(
			'port' => $stored['service']['port'],
			'interface' => $stored['service']['interface'],
			'alias' => $stored['service']['alias'],
			'ended' => $stored['phase'] === 'ended',
			'done' => $stored['outcome']['result'] === 'done',
			'deletes' => $deletes,
			'has_job' => is_file(kmsctl_job_path($stored['id'])),
			'revert_at' => $stored['revert_at'],
			'reverted' => $stored['outcome']['reverted'],
			'took' => $deletes && kmsctl_is_about($stored, $service) ? $stored['before'] : null,
		);
	}, kmsctl_all_stored());
}

/* Whether a change is about the same rules: of this port and interface. */
function kmsctl_is_about($stored, $service) {
	return $stored['service']['port'] === $service['port'] && $stored['service']['interface'] === $service['interface'];
}

/* Whether a change is not at its end, or is to be taken back. */
function kmsctl_is_at_work($stored) {
	return $stored['phase'] !== 'ended' || $stored['revert_at'] !== null;
}

/* Those whose rollback is about the same rules. */
function kmsctl_armed_on($service) {
	return array_values(array_filter(kmsctl_all_stored(), function ($stored) use ($service) {
		return $stored['phase'] === 'ended' && $stored['revert_at'] !== null && kmsctl_is_about($stored, $service);
	}));
}

/* Changes whose armed job has something left to do. Without a job nothing has been written yet. */
function kmsctl_unfinished() {
	return array_values(array_filter(kmsctl_all_stored(), function ($stored) {
		return $stored['phase'] !== 'ended' && is_file(kmsctl_job_path($stored['id']));
	}));
}

/* pfSense's own history, see src/domain/pfsense/configured.rs. */
function kmsctl_history() {
	$keys = array('time', 'description', 'username');
	$cache = @file_get_contents(kmsctl_conf() . '/backup/backup.cache');
	$backups = $cache === false ? array() : @unserialize($cache, array('allowed_classes' => false));
	return kmsctl_normal(array('revision' => array_intersect_key(kmsctl_section('revision'), array_flip($keys)),
	    'backups' => kmsctl_fields(is_array($backups) ? $backups : array(), $keys)));
}
?>
