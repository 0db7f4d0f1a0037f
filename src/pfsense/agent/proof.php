<?php
/*
 * Loading the ruleset, and the proof that pf runs it. A return value of 0 proves nothing: pfSense returns it too
 * when pfctl failed with a message that has no colon (pfSense 2.6.0 to 2.7.2 and development, filter.inc).
 */

function kmsctl_pfctl() {
	/* Only a stand-in for pfSense defines the constant. */
	return defined('KMSCTL_STAND_IN_PFCTL') ? constant('KMSCTL_STAND_IN_PFCTL') : '/sbin/pfctl';
}

/* What pfctl prints, and null; or null, and why that is not known. What pfctl -f races is cut anywhere, or empty, with
 * exit 0 and a word about it: asked again, for three seconds at most. */
function kmsctl_ask_pf($what) {
	for ($try = 0; ; $try++) {
		list($lines, $why) = kmsctl_run_pfctl($what);
		if ($why === null || strpos($why, 'Device busy') === false || $try >= 6) {
			return array($lines, $why);
		}
		usleep(500000);
	}
}

function kmsctl_run_pfctl($what) {
	$talk = tmpfile();
	if ($talk === false) {
		return array(null, 'no temporary file can be made: ' . kmsctl_last_error());
	}
	$process = proc_open(escapeshellarg(kmsctl_pfctl()) . " {$what}",
	    array(array('file', '/dev/null', 'r'), array('pipe', 'w'), $talk), $pipes);
	if (!is_resource($process)) {
		return array(null, 'pfctl cannot be started');
	}
	$text = (string) stream_get_contents($pipes[1]);
	fclose($pipes[1]);
	$status = proc_close($process);
	rewind($talk);
	/* Where the machine has no ALTQ it says so in other words. */
	if (preg_match('/^pfctl: .*/m', (string) stream_get_contents($talk), $said)) {
		return array(null, substr($said[0], 0, 200));
	}
	if ($status !== 0) {
		return array(null, "pfctl ended with the status {$status}");
	}
	return $text === '' || substr($text, -1) === "\n" ? array(explode("\n", $text), null)
	    : array(null, 'its answer is cut short');
}

/* Rules as pf has them now, ports as numbers, as above. A whole list of pfSense's has its anchor for tftp-proxy, which
 * stands behind all filter rules; that of redirections goes on behind it, so it is read where it is the same twice. */
function kmsctl_loaded($what) {
	list($lines, $why) = kmsctl_ask_pf("-P {$what}");
	if ($why === null && (preg_grep('#^(?:rdr-)?anchor "tftp-proxy/\*"#', $lines) === array()
	    || ($what === '-sn' && kmsctl_ask_pf("-P {$what}") !== array($lines, null)))) {
		return array(null, 'its list is cut short');
	}
	return array($lines, $why);
}

function kmsctl_load_notices() {
	$notices = function_exists('get_notices') ? get_notices() : array();
	return array_keys(array_filter(is_array($notices) ? $notices : array(), function ($notice) {
		return is_array($notice) && isset($notice['id']) && $notice['id'] === 'filter_load';
	}));
}

function kmsctl_last_status() {
	$path = kmsctl_path('varrun_path', '/var/run') . '/filter_reload_status';
	$lines = array_filter(preg_split('/[\r\n]+/', (string) @file_get_contents($path)), 'strlen');
	return $lines === array() ? '' : trim(end($lines));
}

/* The development branch labels the default rules with a hash of the whole ruleset. */
function kmsctl_ruleset_hash($text) {
	return preg_match('/ruleset:([0-9a-f]+)/', $text, $found) ? $found[1] : null;
}

/* What speaks against a load that pfSense has just made, or null: array('against', sentence), or `unread` where it could
 * not be found out. */
function kmsctl_reload() {
	global $config;
	$before = kmsctl_load_notices();
	/* From pfSense 2.7.0 on, reading the configuration anew leaves the members of aliases as they were when the process
	 * began, and the ruleset is made of those. Up to 2.6 the function wants the configuration. */
	if (function_exists('alias_make_table')) {
		alias_make_table($config);
	}
	$returned = filter_configure_sync();
	if ($returned !== 0) {
		return array('against', 'pfSense did not load its ruleset: ' . substr(kmsctl_last_status(), 0, 200));
	}
	$status = kmsctl_last_status();
	if ($status !== 'Done' && strpos($status, 'Skipping filter configuration reload') === false) {
		return array('against', 'pfSense stopped loading at: ' . substr($status, 0, 200));
	}
	if (array_diff(kmsctl_load_notices(), $before) !== array()) {
		return array('against', 'pfSense filed a notice that its ruleset does not load');
	}
	$written = @file_get_contents(kmsctl_path('tmp_path', '/tmp') . '/rules.debug');
	$good = @file_get_contents(kmsctl_path('cf_conf_path', '/cf/conf') . '/rules.debug.old');
	if ($written !== false && $written === $good) {
		return null;
	}
	$hash = kmsctl_ruleset_hash((string) $written);
	list($lines, $why) = $hash === null ? array(array(), null) : kmsctl_loaded('-sr');
	if ($why !== null) {
		return array('unread', "what pf runs could not be read: {$why}");
	}
	return $hash !== null && $hash === kmsctl_ruleset_hash(implode("\n", $lines)) ? null
	    : array('against', 'the ruleset that pfSense wrote is not the one it loaded');
}

/* What speaks against what pf must show, as kmsctl_reload() says it. The conditions and their patterns are the client's
 * (src/domain/pfsense/proof.rs); the first that does not hold counts. */
function kmsctl_prove($conditions, $service) {
	$asked = array('rules' => '-sr', 'redirections' => '-sn', 'status' => '-si',
	    'table' => '-t ' . escapeshellarg($service['alias']) . ' -T show');
	$read = array();
	foreach ($conditions as $condition) {
		$what = $asked[$condition['ask']];
		if (!isset($read[$what])) {
			list($read[$what], $why) = in_array($what, array('-sr', '-sn'), true) ? kmsctl_loaded($what) : kmsctl_ask_pf($what);
			if ($why !== null) {
				return array('unread', "{$condition['name']} could not be read: {$why}");
			}
		}
		$problem = kmsctl_held_against($condition, $read[$what]);
		if ($problem !== null) {
			return array($condition['doubts'] ? 'unread' : 'against', $problem);
		}
	}
	return $conditions === array() ? array('unread', 'nothing says what pf must show') : null;
}

/* The sentence for lines that do not meet a condition, or null: of those that match all of its patterns it wants some, or
 * none. */
function kmsctl_held_against($condition, $lines) {
	foreach ($condition['lines'] as $pattern) {
		$lines = preg_grep($pattern, $lines);
	}
	if (($lines !== array()) === ($condition['wants'] === 'some')) {
		return null;
	}
	if ($condition['shown'] === null) {
		return $condition['says'];
	}
	preg_match_all($condition['shown'], implode("\n", array_slice($lines, 0, 3)), $shown);
	return "{$condition['says']}: " . ($shown[0] === array() ? 'none' : implode(' ', $shown[0]));
}
?>
