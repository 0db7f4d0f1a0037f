<?php
/*
 * What kmsctl asks pfSense's own PHP: read on standard input of /usr/local/bin/php, one request in, one
 * JSON object out between two marker lines. Not for judging: src/domain/exposure.rs does that.
 *
 * The action `read` changes nothing: it never calls write_config() or filter_configure(). The configuration holds
 * password hashes and private keys, so every value that leaves is named here; $config is never printed.
 * PHP 7.4 (pfSense 2.6.0) to 8.4; functions of pfSense are tested for, versions are not.
 */

$kmsctl_request = json_decode(base64_decode('@REQUEST@'), true);
$kmsctl_answered = false;

/* Prints the answer once. Whatever was printed before it, by pfSense or by PHP, stays outside the markers. */
function kmsctl_answer($answer) {
	global $kmsctl_request, $kmsctl_answered;
	if ($kmsctl_answered) {
		return;
	}
	$kmsctl_answered = true;
	$nonce = is_array($kmsctl_request) ? $kmsctl_request['nonce'] : '';
	/* A description cut in the middle of a character must not cost the whole answer. */
	$flags = JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_INVALID_UTF8_SUBSTITUTE;
	$json = json_encode($answer, $flags);
	if ($json === false) {
		$json = json_encode(kmsctl_error('encode', json_last_error_msg()), $flags);
	}
	while (ob_get_level() > 0 && @ob_end_flush()) {
	}
	echo "\nagent {$nonce} begin\n{$json}\nagent {$nonce} end\n";
}

/* Only the first line of a message: the stack trace below it shows arguments, and those can be secrets. */
function kmsctl_error($kind, $message) {
	$lines = preg_split('/[\r\n]/', trim((string) $message));
	return array('error' => array('kind' => $kind, 'message' => substr($lines[0], 0, 300)));
}

/* The last word when pfSense's code ends the process: a fatal error, or its die() on a broken config.xml. */
function kmsctl_shutdown() {
	$error = error_get_last();
	$fatal = E_ERROR | E_PARSE | E_CORE_ERROR | E_COMPILE_ERROR | E_USER_ERROR | E_RECOVERABLE_ERROR;
	if (is_array($error) && ($error['type'] & $fatal)) {
		kmsctl_answer(kmsctl_error('fatal', $error['message']));
	} else {
		/* Its parting words, such as "Config.xml is corrupted", are the last line that it printed. */
		$lines = preg_split('/[\r\n]+/', trim((string) ob_get_contents()));
		$said = end($lines) === '' ? '' : ': ' . end($lines);
		kmsctl_answer(kmsctl_error('ended', "pfSense's PHP code ended before the configuration was read{$said}"));
	}
}

/* A section's list of records; an empty section is the string '', not an array. */
function kmsctl_list($section, $tag) {
	global $config;
	$holder = isset($config[$section]) && is_array($config[$section]) ? $config[$section] : array();
	$list = isset($holder[$tag]) && is_array($holder[$tag]) ? $holder[$tag] : array();
	return array_filter($list, 'is_array');
}

/* null is an absent element, '' an empty one: <disabled/> disables, <max-src-conn/> caps nothing. */
function kmsctl_text($record, $key) {
	if (!is_array($record) || !array_key_exists($key, $record)) {
		return null;
	}
	return is_scalar($record[$key]) ? (string) $record[$key] : '';
}

function kmsctl_has($record, $key) {
	return is_array($record) && array_key_exists($key, $record);
}

function kmsctl_section($name) {
	global $config;
	return isset($config[$name]) && is_array($config[$name]) ? $config[$name] : array();
}

function kmsctl_side($rule, $key) {
	$side = kmsctl_has($rule, $key) ? $rule[$key] : null;
	return array(
		'any' => kmsctl_has($side, 'any'),
		'network' => kmsctl_text($side, 'network'),
		'address' => kmsctl_text($side, 'address'),
		'port' => kmsctl_text($side, 'port'),
		'not' => kmsctl_has($side, 'not'),
	);
}

/* Whether a port field covers the port: a number, a range a-b or a:b, or an alias of those. */
function kmsctl_covers($field, $port, $depth = 0) {
	$field = trim((string) $field);
	if (preg_match('/^[0-9]+$/', $field)) {
		return (int) $field === $port;
	}
	if (preg_match('/^([0-9]+)[-:]([0-9]+)$/', $field, $range)) {
		return (int) $range[1] <= $port && $port <= (int) $range[2];
	}
	if ($field === '' || $depth > 4) {
		return false;
	}
	foreach (kmsctl_list('aliases', 'alias') as $alias) {
		if (kmsctl_text($alias, 'name') === $field && kmsctl_text($alias, 'type') === 'port') {
			foreach (preg_split('/\s+/', (string) kmsctl_text($alias, 'address')) as $member) {
				if (kmsctl_covers($member, $port, $depth + 1)) {
					return true;
				}
			}
		}
	}
	return false;
}

/* Whether an address field is the request's alias, or its address in any spelling. */
function kmsctl_ours($field, $request) {
	$field = trim((string) $field);
	if ($field === '' || $field === $request['alias']) {
		return $field !== '';
	}
	$bytes = @inet_pton($field);
	return $bytes !== false && $bytes === @inet_pton($request['address']);
}

function kmsctl_nat_rule($index, $rule) {
	return array(
		'index' => $index,
		'disabled' => kmsctl_has($rule, 'disabled'),
		'nordr' => kmsctl_has($rule, 'nordr'),
		'interface' => (string) kmsctl_text($rule, 'interface'),
		'ipprotocol' => kmsctl_text($rule, 'ipprotocol'),
		'protocol' => kmsctl_text($rule, 'protocol'),
		'source' => kmsctl_side($rule, 'source'),
		'destination' => kmsctl_side($rule, 'destination'),
		'target' => kmsctl_text($rule, 'target'),
		'local_port' => kmsctl_text($rule, 'local-port'),
		'descr' => kmsctl_text($rule, 'descr'),
		'association' => kmsctl_text($rule, 'associated-rule-id'),
		'natreflection' => kmsctl_text($rule, 'natreflection'),
	);
}

function kmsctl_filter_rule($index, $rule) {
	$caps = array();
	foreach (array('max', 'max-src-nodes', 'max-src-conn', 'max-src-states', 'max-src-conn-rate',
	    'max-src-conn-rates', 'statetimeout') as $key) {
		$caps[$key] = kmsctl_text($rule, $key);
	}
	return array(
		'index' => $index,
		'tracker' => kmsctl_text($rule, 'tracker'),
		'type' => kmsctl_text($rule, 'type'),
		'disabled' => kmsctl_has($rule, 'disabled'),
		'floating' => kmsctl_has($rule, 'floating'),
		'interface' => kmsctl_text($rule, 'interface'),
		'ipprotocol' => kmsctl_text($rule, 'ipprotocol'),
		'protocol' => kmsctl_text($rule, 'protocol'),
		'source' => kmsctl_side($rule, 'source'),
		'destination' => kmsctl_side($rule, 'destination'),
		'descr' => kmsctl_text($rule, 'descr'),
		'association' => kmsctl_text($rule, 'associated-rule-id'),
		'statetype' => kmsctl_text($rule, 'statetype'),
		'sched' => kmsctl_text($rule, 'sched'),
		'caps' => $caps,
	);
}

/* Port forwards that touch the service, by outside port, inside port or target. */
function kmsctl_nat($request) {
	$found = array();
	foreach (kmsctl_list('nat', 'rule') as $index => $rule) {
		$destination = kmsctl_side($rule, 'destination');
		if (kmsctl_covers($destination['port'], $request['port'])
		    || kmsctl_covers(kmsctl_text($rule, 'local-port'), $request['port'])
		    || kmsctl_ours(kmsctl_text($rule, 'target'), $request)) {
			$found[] = kmsctl_nat_rule((int) $index, $rule);
		}
	}
	return $found;
}

/* Filter rules joined to one of those, or towards the service by address, or by port on its interface. */
function kmsctl_filter($request, $nat) {
	$joined = array();
	foreach ($nat as $rule) {
		if ((string) $rule['association'] !== '' && $rule['association'] !== 'pass') {
			$joined[] = $rule['association'];
		}
	}
	$found = array();
	foreach (kmsctl_list('filter', 'rule') as $index => $rule) {
		$destination = kmsctl_side($rule, 'destination');
		$interfaces = array_filter(explode(',', (string) kmsctl_text($rule, 'interface')), 'strlen');
		$here = in_array($request['interface'], $interfaces, true)
		    || (kmsctl_has($rule, 'floating') && ($interfaces === array() || $interfaces === array('any')));
		if (in_array(kmsctl_text($rule, 'associated-rule-id'), $joined, true)
		    || kmsctl_ours($destination['address'], $request)
		    || ($here && kmsctl_covers($destination['port'], $request['port']))) {
			$found[] = kmsctl_filter_rule((int) $index, $rule);
		}
	}
	return $found;
}

function kmsctl_alias($name) {
	foreach (kmsctl_list('aliases', 'alias') as $alias) {
		if (kmsctl_text($alias, 'name') === $name) {
			return array(
				'name' => $name,
				'type' => kmsctl_text($alias, 'type'),
				'address' => kmsctl_text($alias, 'address'),
			);
		}
	}
	return null;
}

function kmsctl_cron($table) {
	$found = array();
	foreach (kmsctl_list('cron', 'item') as $item) {
		$words = preg_split('/\s+/', (string) kmsctl_text($item, 'command'));
		if (in_array($table, $words, true)) {
			$record = array();
			foreach (array('minute', 'hour', 'mday', 'month', 'wday', 'who', 'command') as $key) {
				$record[$key] = (string) kmsctl_text($item, $key);
			}
			$found[] = $record;
		}
	}
	return $found;
}

function kmsctl_interface($name) {
	$interfaces = kmsctl_section('interfaces');
	if (!isset($interfaces[$name]) || !is_array($interfaces[$name])) {
		return null;
	}
	return array(
		'name' => $name,
		'device' => kmsctl_text($interfaces[$name], 'if'),
		'descr' => kmsctl_text($interfaces[$name], 'descr'),
		'ipaddr' => kmsctl_text($interfaces[$name], 'ipaddr'),
		'subnet' => kmsctl_text($interfaces[$name], 'subnet'),
	);
}

function kmsctl_system() {
	global $config, $g;
	$etc = isset($g['etc_path']) && is_string($g['etc_path']) ? $g['etc_path'] : '/etc';
	$version = @file_get_contents("{$etc}/version");
	return array(
		'version' => is_string($version) ? trim($version) : null,
		'config_version' => kmsctl_text($config, 'version'),
		'php' => PHP_VERSION,
		'timezone' => kmsctl_text(kmsctl_section('system'), 'timezone'),
	);
}

/* Subsystems with changes saved in the GUI and not applied; a reload would apply them. */
function kmsctl_dirty() {
	$dirty = array();
	foreach (array('filter', 'natconf', 'aliases') as $subsystem) {
		if (function_exists('is_subsystem_dirty') && is_subsystem_dirty($subsystem)) {
			$dirty[] = $subsystem;
		}
	}
	return $dirty;
}

function kmsctl_read($request) {
	$nat = kmsctl_nat($request);
	$revision = kmsctl_section('revision');
	return array(
		'system' => kmsctl_system(),
		'revision' => array(
			'time' => kmsctl_text($revision, 'time'),
			'description' => kmsctl_text($revision, 'description'),
			'username' => kmsctl_text($revision, 'username'),
		),
		'nat' => $nat,
		'filter' => kmsctl_filter($request, $nat),
		'alias' => kmsctl_alias($request['alias']),
		'cron' => kmsctl_cron($request['table']),
		'interface' => kmsctl_interface($request['interface']),
		'dirty' => kmsctl_dirty(),
		'ha_peer' => (string) kmsctl_text(kmsctl_section('hasync'), 'synchronizetoip') !== '',
		'filter_disabled' => kmsctl_has(kmsctl_section('system'), 'disablefilter'),
	);
}

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
	/* Kept until the answer is written; where pfSense's code dies, the last of it says why. */
	ob_start();
	/* At file level: config.inc sets $config and $g in the scope it is included from. */
	require_once 'config.inc';
	/* Up to 2.7.2 config.inc loads a cache file that may be older than config.xml; both calls read the disk. */
	if (function_exists('parse_config')) {
		$config = parse_config(true);
	} elseif (function_exists('config_read_file')) {
		config_read_file(false, false);
	} else {
		throw new Exception('neither parse_config nor config_read_file exists');
	}
	if (!isset($config) || !is_array($config)) {
		throw new Exception('pfSense returned no configuration');
	}
	switch ($kmsctl_request['action']) {
	case 'read':
		kmsctl_answer(kmsctl_read($kmsctl_request));
		break;
	default:
		kmsctl_answer(kmsctl_error('request', 'unknown action'));
		exit(1);
	}
} catch (Throwable $kmsctl_caught) {
	kmsctl_answer(kmsctl_error('exception', $kmsctl_caught->getMessage()));
	exit(1);
}
