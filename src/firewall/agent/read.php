<?php
/*
 * What config.xml says about the service: fields named one by one, values raw. Changes nothing.
 */

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

/* What kmsctl calls and this PHP, or pfSense's code as far as a read loads it, does not have. */
function kmsctl_missing() {
	$needed = array('escapeshellarg', 'exec', 'flock', 'fsync', 'is_subsystem_dirty', 'json_encode', 'link', 'preg_match',
	    'proc_open', 'write_config');
	/* PHP has it since 8.1; before, a power cut can cost a file of ours. */
	$needed = array_diff($needed, PHP_VERSION_ID < 80100 ? array('fsync') : array());
	return array_values(array_filter($needed, function ($name) {
		return !function_exists($name);
	}));
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
		'fingerprint' => kmsctl_fingerprint($request),
		'armed' => kmsctl_armed(),
		'expired' => kmsctl_expired(),
		'unfinished' => kmsctl_unfinished(),
		'deleted' => kmsctl_deleted($request),
		'leftovers' => kmsctl_leftovers(),
		'missing' => kmsctl_missing(),
		'history' => kmsctl_history(),
	);
}
?>
