<?php
/*
 * What kmsctl keeps on the firewall, and reading it: one file for each change under /conf/kmsctl. Writes nothing.
 *
 * /conf and not /var or /tmp: those can be memory disks on pfSense, and an armed way back must survive a reboot.
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

/* The second name under which a good copy waits to take the place of a damaged config.xml. */
function kmsctl_hidden_path($id) {
	return kmsctl_conf() . "/.kmsctl-{$id}.xml";
}

/* What is stored of a change; null where it is not all that every kmsctl has stored. */
function kmsctl_read_stored($path) {
	$stored = json_decode((string) @file_get_contents($path), true);
	$is_whole = isset($stored['id'], $stored['phase'], $stored['who'], $stored['what'], $stored['since'],
	    $stored['service']['port'], $stored['service']['interface'], $stored['outcome']['result'])
	    && basename($path) === "change-{$stored['id']}.json" && is_string($stored['who']) && is_string($stored['what'])
	    && is_int($stored['since']) && is_int($stored['service']['port']) && is_string($stored['service']['interface'])
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
	return array(
		'id' => $stored['id'],
		'who' => $stored['who'],
		'what' => $stored['what'],
		'since' => $stored['since'],
	);
}

/* The changes that are kept here, oldest first. What they still do is judged by src/domain/pfsense/stored.rs. What a
 * deletion of these rules took away is kept nowhere else. */
function kmsctl_changes($service) {
	return array_map(function ($stored) use ($service) {
		return kmsctl_running($stored) + array(
			'port' => $stored['service']['port'],
			'interface' => $stored['service']['interface'],
			'ended' => $stored['phase'] === 'ended',
			'has_job' => is_file(kmsctl_job_path($stored['id'])),
			'revert_at' => $stored['revert_at'],
			'reverted' => $stored['outcome']['reverted'],
			'took' => kmsctl_is_about($stored, $service) && kmsctl_is_deletion_in_force($stored) ? $stored['before'] : null,
		);
	}, kmsctl_all_stored());
}

/* Whether a change is about the same rules: of this port and interface. */
function kmsctl_is_about($stored, $service) {
	return $stored['service']['port'] === $service['port'] && $stored['service']['interface'] === $service['interface'];
}

/* Those whose way back is about the same rules. */
function kmsctl_armed_on($service) {
	return array_values(array_filter(kmsctl_all_stored(), function ($stored) use ($service) {
		return $stored['phase'] === 'ended' && $stored['revert_at'] !== null && kmsctl_is_about($stored, $service);
	}));
}

function kmsctl_is_deletion_in_force($stored) {
	return isset($stored['kind']) && $stored['kind'] === 'delete' && $stored['phase'] === 'ended'
	    && in_array($stored['outcome']['result'], array('done', 'unproven'), true);
}

/* The only place that has what a deletion took away: kept, whatever its age, until a later change of the rules is in force. */
function kmsctl_is_needed($stored) {
	if (!kmsctl_is_deletion_in_force($stored)) {
		return false;
	}
	foreach (kmsctl_all_stored() as $other) {
		if ($other['service']['alias'] === $stored['service']['alias'] && kmsctl_is_about($other, $stored['service'])
		    && $other['since'] > $stored['since'] && $other['outcome']['result'] === 'done') {
			return false;
		}
	}
	return true;
}

/* Changes whose armed job has something left to do. Without a job nothing has been written yet. */
function kmsctl_unfinished() {
	return array_values(array_filter(kmsctl_all_stored(), function ($stored) {
		return $stored['phase'] !== 'ended' && is_file(kmsctl_job_path($stored['id']));
	}));
}

/* pfSense's own history: the revision in force, then its backups by their index, newest first. The index holds the
 * description with the user's name in front; only some versions keep the name by itself. */
function kmsctl_history() {
	$revision = kmsctl_section('revision');
	$history = array(kmsctl_entry(kmsctl_text($revision, 'time'), $revision));
	$cache = @file_get_contents(kmsctl_conf() . '/backup/backup.cache');
	$backups = $cache === false ? array() : @unserialize($cache, array('allowed_classes' => false));
	$backups = is_array($backups) ? array_filter($backups, 'is_array') : array();
	krsort($backups, SORT_NUMERIC);
	foreach ($backups as $time => $backup) {
		if (is_numeric($time) && count($history) < 30) {
			$history[] = kmsctl_entry((string) $time, $backup);
		}
	}
	return $history;
}

function kmsctl_entry($time, $record) {
	return array(
		'time' => $time,
		'description' => kmsctl_text($record, 'description'),
		'username' => kmsctl_text($record, 'username'),
	);
}
?>
