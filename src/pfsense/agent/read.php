<?php
/*
 * The sections of config.xml that say who comes in, as they stand there: records in their order, values raw. Which of
 * them are the service's is decided by src/domain/pfsense/config.rs. Changes nothing.
 */

/* Up to 2.7.2 config.inc loads a cache file that may be older than config.xml; both calls read the disk. */
function kmsctl_parse_config() {
	global $config;
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
}

/* A section's list of records; an empty section is the string '', not an array. */
function kmsctl_list($section, $tag) {
	$holder = kmsctl_section($section);
	return isset($holder[$tag]) && is_array($holder[$tag]) ? array_filter($holder[$tag], 'is_array') : array();
}

/* null is an absent element, '' an empty one: <disabled/> disables, an empty number is none. */
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

/* Of each record these fields only; the others may hold what nobody else may see (PPPoE's and CARP's passwords). */
function kmsctl_fields($record, $keys) {
	return array_intersect_key($record, array_flip($keys));
}

/* A list's records, as they will be after the next write and parse. */
function kmsctl_raw_list($section, $tag, $keys = null) {
	$records = array();
	foreach (kmsctl_list($section, $tag) as $record) {
		$records[] = kmsctl_normal($keys === null ? $record : kmsctl_fields($record, $keys));
	}
	return $records;
}

/* The rule lists whole; elements that are absent stay absent. */
function kmsctl_rule_sections() {
	$sections = array();
	foreach (array('nat' => array('rule', 'onetoone'), 'filter' => array('rule')) as $name => $tags) {
		$sections[$name] = array('separator' => kmsctl_separator($name));
		foreach ($tags as $tag) {
			$sections[$name][$tag] = kmsctl_raw_list($name, $tag);
		}
	}
	return $sections;
}

/* The service's alias whole: it is what a change may touch. A URL of another one can hold a password. */
function kmsctl_alias_records($name) {
	$records = array();
	foreach (kmsctl_list('aliases', 'alias') as $alias) {
		$own = kmsctl_text($alias, 'name') === $name;
		$records[] = kmsctl_normal($own ? $alias : kmsctl_fields($alias, array('name', 'type', 'address')));
	}
	return $records;
}

function kmsctl_sections($request) {
	$interfaces = array();
	foreach (kmsctl_section('interfaces') as $name => $interface) {
		if (is_array($interface)) {
			$interfaces[$name] = kmsctl_normal(kmsctl_fields($interface, array('enable', 'if', 'descr', 'ipaddr', 'subnet',
			    'ipaddrv6', 'subnetv6', 'gateway', 'gatewayv6')));
		}
	}
	$flags = array('disablefilter', 'disablenatreflection', 'enablenatreflectionpurenat', 'enablebinatreflection',
	    'enablenatreflectionhelper', 'disablescrub', 'maximumstates', 'ipv6allow');
	return kmsctl_rule_sections() + array(
		'aliases' => array('alias' => kmsctl_alias_records($request['alias'])),
		'interfaces' => kmsctl_normal($interfaces),
		'gateways' => array('gateway_item' => kmsctl_raw_list('gateways', 'gateway_item',
		    array('name', 'interface', 'gateway', 'ipprotocol', 'defaultgw', 'disabled'))),
		'ifgroups' => array('ifgroupentry' => kmsctl_raw_list('ifgroups', 'ifgroupentry', array('ifname', 'members'))),
		'virtualip' => array('vip' => kmsctl_raw_list('virtualip', 'vip',
		    array('mode', 'interface', 'type', 'subnet', 'subnet_bits', 'descr', 'uniqid'))),
		'system' => kmsctl_normal(kmsctl_fields(kmsctl_section('system'), $flags)),
		'cron' => array('item' => kmsctl_cron($request['table'])),
	);
}

/* Jobs that name the table; other commands can hold passwords. */
function kmsctl_cron($table) {
	$found = array();
	foreach (kmsctl_list('cron', 'item') as $item) {
		$words = preg_split('/\s+/', (string) kmsctl_text($item, 'command'));
		if (in_array($table, $words, true)) {
			$found[] = kmsctl_normal(kmsctl_fields($item, array('minute', 'hour', 'mday', 'month', 'wday', 'who', 'command')));
		}
	}
	return $found;
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
	return array_values(array_filter(array('filter', 'natconf', 'aliases'), function ($subsystem) {
		return function_exists('is_subsystem_dirty') && is_subsystem_dirty($subsystem);
	}));
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
	return array(
		'system' => kmsctl_system(),
		'sections' => kmsctl_sections($request),
		'dirty' => kmsctl_dirty(),
		'ha_peer' => (string) kmsctl_text(kmsctl_section('hasync'), 'synchronizetoip') !== '',
		'changes' => kmsctl_changes($request),
		'leftovers' => kmsctl_leftovers(),
		'missing' => kmsctl_missing(),
		'history' => kmsctl_history(),
	);
}
?>
