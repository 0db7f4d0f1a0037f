<?php
/*
 * Loads pfSense's code and configuration, and does what the request asks.
 */

/* What stands in the way of loading pfSense's code, or null. */
function kmsctl_obstacle() {
	global $kmsctl_request;
	if (!is_array($kmsctl_request)) {
		return kmsctl_error('request', 'the request is not JSON');
	}
	if (stream_resolve_include_path('config.inc') === false) {
		if (!is_file('/etc/inc/config.inc')) {
			return kmsctl_error('no-pfsense', 'config.inc is not on the include path: is this pfSense?');
		}
		set_include_path('/etc/inc' . PATH_SEPARATOR . get_include_path());
	}
	/* Loading config.inc over a missing or empty config.xml makes pfSense restore a backup: a read must not. */
	if (is_dir('/cf/conf') && (!is_file('/cf/conf/config.xml') || filesize('/cf/conf/config.xml') === 0)) {
		return kmsctl_error('no-configuration', '/cf/conf/config.xml is missing or empty');
	}
	return null;
}

/* What the request asks for, once pfSense's code and configuration are here. */
function kmsctl_do($request) {
	$actions = array('read' => 'kmsctl_read', 'swap' => 'kmsctl_apply', 'outcome' => 'kmsctl_tell', 'keep' => 'kmsctl_keep',
	    'clean' => 'kmsctl_clean', 'revert' => 'kmsctl_revert');
	if (!isset($actions[$request['action']['name']])) {
		throw new Exception('unknown action');
	}
	return $actions[$request['action']['name']]($request);
}

/* PHP prints errors on standard error, so that none can stand between the markers. */
ini_set('display_errors', 'stderr');
/* Should the connection die, the process must not outlive it for long. */
set_time_limit(120);
register_shutdown_function('kmsctl_shutdown');

try {
	$kmsctl_obstacle = kmsctl_obstacle();
	if ($kmsctl_obstacle !== null) {
		kmsctl_answer($kmsctl_obstacle);
		exit(1);
	}
	if ($kmsctl_request['action']['name'] !== 'read') {
		kmsctl_survive();
		if (!kmsctl_worth_a_look($kmsctl_request)) {
			exit(0);
		}
	}
	/* Kept until the answer is written; where pfSense's code dies, the last of it says why. */
	ob_start();
	/* At file level: config.inc sets $config and $g in the scope it is included from. */
	require_once 'config.inc';
	if ($kmsctl_request['action']['name'] !== 'read') {
		/* What /etc/rc.filter_configure_sync loads; without shaper.inc a reload dies of an undefined function. */
		foreach (array('functions.inc', 'filter.inc', 'shaper.inc', 'ipsec.inc', 'vpn.inc', 'notices.inc') as $kmsctl_part) {
			if (stream_resolve_include_path($kmsctl_part) !== false) {
				require_once $kmsctl_part;
			}
		}
	}
	kmsctl_parse_config();
	kmsctl_answer(kmsctl_do($kmsctl_request));
} catch (Throwable $kmsctl_caught) {
	/* A change in the making has been brought to an end as far as it can be. */
	$kmsctl_outcome = function_exists('kmsctl_interrupted') ? kmsctl_interrupted($kmsctl_caught->getMessage()) : null;
	kmsctl_answer($kmsctl_outcome !== null ? $kmsctl_outcome : kmsctl_error('exception', $kmsctl_caught->getMessage()));
	exit(1);
}
