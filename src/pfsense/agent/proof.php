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
 * stands behind all filter rules, and no fewer redirections than the ruleset that was loaded last. */
function kmsctl_loaded($what) {
	list($lines, $why) = kmsctl_ask_pf("-P {$what}");
	if ($why !== null) {
		return array(null, $why);
	}
	$ruleset = $what === '-sn' ? @file(kmsctl_path('cf_conf_path', '/cf/conf') . '/rules.debug.old') : false;
	$least = $ruleset === false ? 0 : count(preg_grep('/^rdr /', $ruleset));
	return preg_grep('#^(?:rdr-)?anchor "tftp-proxy/\*"#', $lines) !== array()
	    && count(preg_grep('/^rdr /', $lines)) >= $least ? array($lines, null) : array(null, 'its list is cut short');
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

function kmsctl_is_out($placed) {
	return $placed === null || kmsctl_has($placed['record'], 'disabled');
}

/* Whether records let nobody in by themselves. What closes is never taken back because pf contradicts it. */
function kmsctl_closes($records, $before) {
	return kmsctl_is_out($records['nat']) && (kmsctl_is_out($records['filter']) || $records['filter'] === $before['filter']);
}

/* What speaks against pf running these records and not those before, as kmsctl_reload() says it. */
function kmsctl_prove($service, $records, $before) {
	list($filter, $no_filter) = kmsctl_loaded('-sr');
	list($nat, $no_nat) = kmsctl_loaded('-sn');
	list($info, $no_info) = kmsctl_ask_pf('-si');
	foreach (array('rules' => $no_filter, 'redirections' => $no_nat, 'status' => $no_info) as $what => $why) {
		if ($why !== null) {
			return array('unread', "pf's {$what} could not be read: {$why}");
		}
	}
	$service['swapped'] = array();
	foreach (array($records['filter'], $before['filter']) as $placed) {
		$service['swapped'][] = $placed === null ? '' : kmsctl_canonical($placed['record']);
	}
	$problem = kmsctl_prove_pass($filter, $records, $before, $service);
	if ($problem === null) {
		$problem = kmsctl_prove_redirect($nat, $records, $before, $service);
	}
	if ($problem !== null) {
		return array('against', $problem);
	}
	if (preg_grep('/^Status: Enabled\b/', $info) === array()) {
		return array('unread', preg_grep('/^Status: Disabled\b/', $info) === array()
		    ? "pf's status could not be read" : 'pf is switched off on this firewall');
	}
	return kmsctl_prove_alias($records, $before, $service);
}

/* The members of pf's table are those of the alias; only where a rule in force names it, as pf has no table else. */
function kmsctl_prove_alias($records, $before, $service) {
	$name = $service['alias'];
	$named = false;
	foreach (array('nat', 'filter') as $section) {
		$rule = $records[$section] === null ? array() : $records[$section]['record'];
		$destination = kmsctl_side($rule, 'destination');
		$named = $named || (!kmsctl_has($rule, 'disabled')
		    && in_array($name, array(kmsctl_text($rule, 'target'), $destination['address']), true));
	}
	if (!$named || $records['alias'] === null) {
		return null;
	}
	list($lines, $why) = kmsctl_ask_pf('-t ' . escapeshellarg($name) . ' -T show');
	if ($why !== null) {
		return array('unread', "pf's table of the alias {$name} could not be read: {$why}");
	}
	$problem = kmsctl_other_members($records['alias']['record'], $lines, $name);
	/* Who has not touched the alias does not take anything back because of it. */
	$ours = $before['alias'] === null || $before['alias']['record'] !== $records['alias']['record'];
	return $problem === null ? null : array($ours ? 'against' : 'unread', $problem);
}

function kmsctl_other_members($alias, $lines, $name) {
	$loaded = array_filter(array_map('kmsctl_address', $lines), 'strlen');
	$wanted = array();
	$open = false;
	foreach (preg_split('/\s+/', (string) kmsctl_text($alias, 'address'), -1, PREG_SPLIT_NO_EMPTY) as $member) {
		$address = kmsctl_address($member);
		/* Names, other aliases and ranges are made addresses by pfSense. */
		$open = $open || $address === '';
		$wanted[] = $address;
	}
	$wanted = array_filter($wanted, 'strlen');
	$missing = array_diff($wanted, $loaded);
	if ($missing !== array()) {
		return "pf's table of the alias {$name} lacks " . implode(', ', array_slice($missing, 0, 3));
	}
	$more = $open ? array() : array_diff($loaded, $wanted);
	return $more === array() ? null
	    : "pf's table of the alias {$name} holds " . implode(', ', array_slice($more, 0, 3));
}

/* An address or a network in one spelling, or ''. */
function kmsctl_address($text) {
	$parts = explode('/', trim($text));
	$bytes = @inet_pton($parts[0]);
	if ($bytes === false || count($parts) > 2 || (isset($parts[1]) && preg_match('/^[0-9]+$/D', $parts[1]) !== 1)) {
		return '';
	}
	$whole = strlen($bytes) * 8;
	$length = isset($parts[1]) ? (int) $parts[1] : $whole;
	return inet_ntop($bytes) . ($length === $whole ? '' : "/{$length}");
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
	$tracker = (int) kmsctl_text($rule, 'tracker');
	return array_filter(kmsctl_list('filter', 'rule'), function ($other) use ($service, $tracker) {
		return (int) kmsctl_text($other, 'tracker') === $tracker
		    && !in_array(kmsctl_canonical(kmsctl_normal($other)), $service['swapped'], true);
	});
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

function kmsctl_prove_pass($lines, $records, $before, $service) {
	$was = $before['filter'] === null ? null : $before['filter']['record'];
	$now = $records['filter'] === null ? null : $records['filter']['record'];
	if ($was === $now && kmsctl_is_out($records['nat']) && $before !== $records) {
		/* The forward was closed alone: its filter rule belongs to others too. */
		return null;
	}
	$problem = $now === null ? null : kmsctl_prove_rule($lines, $now, $service);
	if ($problem === null && $was !== null && ($now === null || kmsctl_is_another($was, $now, $service))
	    && kmsctl_lines_of($lines, $was, $service) !== array()) {
		$problem = trim('pf still runs the filter rule ' . kmsctl_text($was, 'tracker'));
	}
	return $problem;
}

function kmsctl_prove_rule($lines, $rule, $service) {
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
