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
	return isset($holder[$tag]) && is_array($holder[$tag]) ? array_values(array_filter($holder[$tag], 'is_array')) : array();
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
function kmsctl_fields($records, $keys) {
	return array_map(function ($record) use ($keys) {
		return array_intersect_key($record, array_flip($keys));
	}, array_filter($records, 'is_array'));
}

/* What a change is judged by: every rule whole, the separators and the aliases. Of these the service's own is whole: it is
 * what a change may touch. A URL of another one can hold a password. */
function kmsctl_judged($service) {
	$aliases = kmsctl_list('aliases', 'alias');
	$own = array_filter($aliases, function ($alias) use ($service) {
		return kmsctl_text($alias, 'name') === $service['alias'];
	});
	return kmsctl_normal(array(
		'nat' => array('rule' => kmsctl_list('nat', 'rule'), 'onetoone' => kmsctl_list('nat', 'onetoone'),
		    'separator' => kmsctl_separator('nat')),
		'filter' => array('rule' => kmsctl_list('filter', 'rule'), 'separator' => kmsctl_separator('filter')),
		'aliases' => array('alias' => array_replace(kmsctl_fields($aliases, array('name', 'type', 'address')), $own)),
	));
}

function kmsctl_sections($service) {
	$system = kmsctl_fields(array(kmsctl_section('system')), array('disablefilter', 'disablenatreflection',
	    'enablenatreflectionpurenat', 'enablebinatreflection', 'enablenatreflectionhelper', 'disablescrub', 'maximumstates',
	    'ipv6allow'));
	/* Jobs that name the table; other commands can hold passwords. */
	$jobs = array_filter(kmsctl_list('cron', 'item'), function ($item) use ($service) {
		return in_array($service['table'], preg_split('/\s+/', (string) kmsctl_text($item, 'command')), true);
	});
	return kmsctl_judged($service) + kmsctl_normal(array(
		'interfaces' => kmsctl_fields(kmsctl_section('interfaces'), array('enable', 'if', 'descr', 'ipaddr', 'subnet',
		    'ipaddrv6', 'subnetv6', 'gateway', 'gatewayv6')),
		'gateways' => array('gateway_item' => kmsctl_fields(kmsctl_list('gateways', 'gateway_item'),
		    array('name', 'interface', 'gateway', 'ipprotocol', 'defaultgw', 'disabled'))),
		'ifgroups' => array('ifgroupentry' => kmsctl_fields(kmsctl_list('ifgroups', 'ifgroupentry'),
		    array('ifname', 'members'))),
		'virtualip' => array('vip' => kmsctl_fields(kmsctl_list('virtualip', 'vip'),
		    array('mode', 'interface', 'type', 'subnet', 'subnet_bits', 'descr', 'uniqid'))),
		'system' => $system[0],
		'cron' => array('item' => kmsctl_fields(array_values($jobs),
		    array('minute', 'hour', 'mday', 'month', 'wday', 'who', 'command'))),
	));
}

function kmsctl_system() {
	global $config;
	$version = @file_get_contents(kmsctl_path('etc_path', '/etc') . '/version');
	return array(
		'version' => is_string($version) ? trim($version) : null,
		'config_version' => kmsctl_text($config, 'version'),
		'php' => PHP_VERSION,
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
	return array_values(array_filter(array('escapeshellarg', 'exec', 'flock', 'fsync', 'is_subsystem_dirty', 'json_encode',
	    'link', 'preg_match', 'proc_open', 'write_config'), function ($name) {
		return !function_exists($name);
	}));
}

function kmsctl_read($request) {
	return array(
		'system' => kmsctl_system(),
		'sections' => kmsctl_sections($request['action']),
		'dirty' => kmsctl_dirty(),
		'ha_peer' => (string) kmsctl_text(kmsctl_section('hasync'), 'synchronizetoip') !== '',
		'changes' => kmsctl_changes($request['action']),
		'files' => array('now' => time(), 'files' => kmsctl_files(), 'lock' => kmsctl_lock_standing()),
		'missing' => kmsctl_missing(),
		'revisions' => kmsctl_history(),
	);
}
?>
