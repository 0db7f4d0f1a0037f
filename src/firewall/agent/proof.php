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
	if ($problem === null && $was !== null && ($now === null || kmsctl_is_another($was, $now, $service))
	    && kmsctl_lines_of($filter, $was, $service) !== array()) {
		$problem = trim('pf still runs the filter rule ' . kmsctl_text($was, 'tracker'));
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

/* Other filter rules of the configuration that bear this rule's tracker, or none as it does. */
function kmsctl_others_with_tracker($rule, $service) {
	$pair = kmsctl_pair($service);
	$tracker = (int) kmsctl_text($rule, 'tracker');
	return array_filter(kmsctl_list('filter', 'rule'), function ($other, $index) use ($pair, $tracker) {
		return !in_array($index, $pair['filter'], true) && (int) kmsctl_text($other, 'tracker') === $tracker;
	}, ARRAY_FILTER_USE_BOTH);
}

/* Whether the tracker alone tells this rule from all others. */
function kmsctl_has_own_tracker($rule, $service) {
	return (int) kmsctl_text($rule, 'tracker') !== 0 && kmsctl_others_with_tracker($rule, $service) === array();
}

/* Whether pf's line of the one rule is not a line of the other. */
function kmsctl_is_another($was, $now, $service) {
	return kmsctl_text($was, 'tracker') !== kmsctl_text($now, 'tracker')
	    || (!kmsctl_has_own_tracker($now, $service)
	    && kmsctl_side($was, 'destination') !== kmsctl_side($now, 'destination'));
}

/* pf's lines of a filter rule: by its tracker where that is its own, else also by target and port. */
function kmsctl_lines_of($lines, $rule, $service) {
	$found = (int) kmsctl_text($rule, 'tracker') === 0
	    ? array_values(preg_grep('/ ridentifier [0-9]/', $lines, PREG_GREP_INVERT))
	    : kmsctl_with_tracker($lines, $rule);
	if (kmsctl_has_own_tracker($rule, $service)) {
		return $found;
	}
	$interface = kmsctl_interface($service['interface']);
	$device = preg_quote((string) $interface['device'], '/');
	$destination = kmsctl_side($rule, 'destination');
	$address = (string) $destination['address'];
	$to = @inet_pton($address) === false ? '<' . preg_quote($address, '/') . '(?::[0-9*]+)?>' : preg_quote($address, '/');
	return array_values(preg_grep("/^pass .*\\bon {$device} .*proto tcp .* to {$to} port = {$service['port']} /", $found));
}

/* Why pf could not be asked about the filter rule, or null: it has no tracker of its own, and another rule of its
 * target and port has none that differs, or it does not name the service as its target. */
function kmsctl_unprovable($service) {
	$pair = kmsctl_pair($service);
	$list = kmsctl_list('filter', 'rule');
	if (count($pair['filter']) !== 1 || kmsctl_has_own_tracker($list[$pair['filter'][0]], $service)) {
		return null;
	}
	$rule = $list[$pair['filter'][0]];
	$destination = kmsctl_side($rule, 'destination');
	$target = (string) $destination['address'];
	$advice = 'open it in the GUI and save it as a new rule with a tracker of its own';
	if (!kmsctl_lets_in($rule, $service, $target) || $target === '') {
		return "the filter rule has no tracker of its own, and pf cannot be asked about it by target and port; {$advice}";
	}
	foreach (kmsctl_others_with_tracker($rule, $service) as $other) {
		if (!kmsctl_has($other, 'disabled') && kmsctl_lets_in($other, $service, $target)) {
			return "the filter rule has no tracker of its own, and another rule has its target and port; {$advice}";
		}
	}
	return null;
}

function kmsctl_prove_pass($lines, $rule, $service) {
	if ($rule === null) {
		return null;
	}
	$loaded = kmsctl_lines_of($lines, $rule, $service);
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
