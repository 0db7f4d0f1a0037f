<?php
/*
 * Loading the ruleset, and the proof that pf runs it. A return value of 0 proves nothing: pfSense returns it too
 * when pfctl failed with a message that has no colon (pfSense 2.6.0 to 2.7.2 and development, filter.inc).
 */

function kmsctl_pfctl() {
	/* Only a stand-in for pfSense defines the constant. */
	return defined('KMSCTL_STAND_IN_PFCTL') ? constant('KMSCTL_STAND_IN_PFCTL') : '/sbin/pfctl';
}

/* Rules as pf has them now, ports as numbers. null if pfctl failed. */
function kmsctl_loaded($what) {
	$lines = array();
	$status = 1;
	exec(escapeshellarg(kmsctl_pfctl()) . " -P {$what} 2>/dev/null", $lines, $status);
	return $status === 0 ? $lines : null;
}

function kmsctl_load_notices() {
	$keys = array();
	$notices = function_exists('get_notices') ? get_notices() : array();
	foreach (is_array($notices) ? $notices : array() as $key => $notice) {
		if (is_array($notice) && isset($notice['id']) && $notice['id'] === 'filter_load') {
			$keys[] = $key;
		}
	}
	return $keys;
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

/* What speaks against a load that pfSense has just made, or null. */
function kmsctl_reload() {
	$before = kmsctl_load_notices();
	$returned = filter_configure_sync();
	if ($returned !== 0) {
		return 'pfSense did not load its ruleset: ' . substr(kmsctl_last_status(), 0, 200);
	}
	$status = kmsctl_last_status();
	if ($status !== 'Done' && strpos($status, 'Skipping filter configuration reload') === false) {
		return 'pfSense stopped loading at: ' . substr($status, 0, 200);
	}
	if (array_diff(kmsctl_load_notices(), $before) !== array()) {
		return 'pfSense filed a notice that its ruleset does not load';
	}
	$written = @file_get_contents(kmsctl_path('tmp_path', '/tmp') . '/rules.debug');
	$good = @file_get_contents(kmsctl_path('cf_conf_path', '/cf/conf') . '/rules.debug.old');
	$hash = kmsctl_ruleset_hash((string) $written);
	if ($hash !== null && $hash === kmsctl_ruleset_hash(implode("\n", (array) kmsctl_loaded('-sr')))) {
		return null;
	}
	return $written !== false && $written === $good ? null : 'the ruleset that pfSense wrote is not the one it loaded';
}

/* What speaks against pf running these records and not those before, or null. */
function kmsctl_prove($service, $records, $before) {
	$filter = kmsctl_loaded('-sr');
	$nat = kmsctl_loaded('-sn');
	if ($filter === null || $nat === null) {
		return 'pfctl does not tell its rules';
	}
	$was = $before['filter'] === null ? null : $before['filter']['record'];
	$now = $records['filter'] === null ? null : $records['filter']['record'];
	$problem = kmsctl_prove_pass($filter, $now, $service);
	if ($problem === null && $was !== null
	    && ($now === null || kmsctl_text($was, 'tracker') !== kmsctl_text($now, 'tracker'))
	    && kmsctl_with_tracker($filter, $was) !== array()) {
		$problem = 'pf still runs the filter rule ' . kmsctl_text($was, 'tracker');
	}
	return $problem !== null ? $problem : kmsctl_prove_redirect($nat, $records, $before, $service);
}

/* pf prints the tracker as a number: 0100000101 is ridentifier 100000101. */
function kmsctl_with_tracker($lines, $rule) {
	$tracker = (string) kmsctl_text($rule, 'tracker');
	if ($tracker === '') {
		return array();
	}
	return array_values(preg_grep('/ ridentifier ' . (int) $tracker . '(?![0-9])/', $lines));
}

function kmsctl_prove_pass($lines, $rule, $service) {
	if ($rule === null) {
		return null;
	}
	if ((string) kmsctl_text($rule, 'tracker') === '') {
		return 'the filter rule has no tracker, so pf cannot be asked about it; save it once in the GUI';
	}
	$loaded = kmsctl_with_tracker($lines, $rule);
	if (kmsctl_has($rule, 'disabled')) {
		return $loaded === array() ? null : 'pf still runs the filter rule';
	}
	if ($loaded === array()) {
		return 'pf does not run the filter rule';
	}
	foreach ($loaded as $line) {
		if (strpos($line, "port = {$service['port']} ") === false) {
			return 'pf runs the filter rule for another port';
		}
		if (kmsctl_caps_of_line($line) !== kmsctl_caps_of_rule($rule)) {
			return 'pf runs the filter rule with other caps: ' . kmsctl_caps_of_line($line);
		}
	}
	return null;
}

function kmsctl_caps_of_line($line) {
	$conn = preg_match('/\bmax-src-conn ([0-9]+)/', $line, $found) ? $found[1] : '-';
	$rate = preg_match('#\bmax-src-conn-rate ([0-9]+/[0-9]+)#', $line, $found) ? $found[1] : '-';
	return "{$conn} {$rate}";
}

/* As filter.inc makes them of the record: caps only on rules that pass TCP with state, the rate only as a pair. */
function kmsctl_caps_of_rule($rule) {
	if (!in_array((string) kmsctl_text($rule, 'type'), array('', 'pass'), true) || !kmsctl_is_tcp($rule)
	    || kmsctl_text($rule, 'statetype') === 'none') {
		return '- -';
	}
	$conn = (string) kmsctl_text($rule, 'max-src-conn');
	$rate = (string) kmsctl_text($rule, 'max-src-conn-rate');
	$seconds = (string) kmsctl_text($rule, 'max-src-conn-rates');
	return ($conn === '' ? '-' : $conn) . ' ' . ($rate === '' || $seconds === '' ? '-' : "{$rate}/{$seconds}");
}

/* Redirections of the service's port to where the record points. */
function kmsctl_redirects($lines, $rule, $service) {
	$interface = kmsctl_interface($service['interface']);
	$device = preg_quote((string) $interface['device'], '/');
	$target = (string) kmsctl_text($rule, 'target');
	$to = preg_quote(@inet_pton($target) === false ? "<{$target}>" : $target, '/');
	return preg_grep("/^rdr .*\\bon {$device} .*proto tcp .*port = {$service['port']} -> {$to}(?: |$)/", $lines);
}

function kmsctl_prove_redirect($lines, $records, $before, $service) {
	$now = $records['nat'] === null ? null : $records['nat']['record'];
	$was = $before['nat'] === null ? null : $before['nat']['record'];
	if ($now !== null && !kmsctl_has($now, 'disabled')) {
		if (kmsctl_redirects($lines, $now, $service) === array()) {
			return 'pf does not run the redirection';
		}
	} elseif ($now !== null && kmsctl_redirects($lines, $now, $service) !== array()) {
		return 'pf still runs the redirection';
	}
	$moved = $was !== null && ($now === null || kmsctl_text($was, 'target') !== kmsctl_text($now, 'target'));
	return $moved && kmsctl_redirects($lines, $was, $service) !== array() ? 'pf still runs the old redirection' : null;
}
?>
