<?php
/*
 * The raw records of the exposure: which they are, what they are worth comparing by. Changes nothing.
 *
 * Which rules are the service's is decided here as src/domain/exposure/pair.rs decides it for the screen: by port,
 * interface, target and association; never by description or position.
 */

/* A value as it will be after the next write and parse: texts and arrays, nothing else (pfSense's xmlparse.inc drops
 * false, and writes true, null and empty arrays as empty elements). */
function kmsctl_normal($value) {
	if (!is_array($value)) {
		return is_string($value) ? $value : (is_int($value) || is_float($value) ? (string) $value : '');
	}
	$normal = array();
	foreach ($value as $key => $item) {
		if ($item !== false) {
			$normal[$key] = kmsctl_normal($item);
		}
	}
	return $normal === array() ? '' : $normal;
}

function kmsctl_is_list($array) {
	return array_keys($array) === range(0, count($array) - 1);
}

function kmsctl_sorted($value) {
	if (!is_array($value)) {
		return $value;
	}
	$sorted = array_map('kmsctl_sorted', $value);
	if (!kmsctl_is_list($sorted)) {
		ksort($sorted, SORT_STRING);
	}
	return $sorted;
}

/* JSON with sorted names; the same for two configurations that mean the same. */
function kmsctl_canonical($value) {
	$flags = JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_LINE_TERMINATORS
	    | JSON_INVALID_UTF8_SUBSTITUTE;
	return json_encode(kmsctl_sorted($value), $flags);
}

/* Everything but the revision, which every write changes. */
function kmsctl_rest($config) {
	unset($config['revision']);
	return hash('sha256', kmsctl_canonical(kmsctl_normal($config)));
}

function kmsctl_is_linked($rule) {
	$association = (string) kmsctl_text($rule, 'associated-rule-id');
	return $association !== '' && $association !== 'pass';
}

/* Whether a destination is the interface's own address: a virtual address and its port are somebody else's. */
function kmsctl_is_own_address($destination, $interface) {
	$present = kmsctl_interface($interface);
	$own = $present === null ? false : @inet_pton((string) $present['ipaddr']);
	return !$destination['not'] && ((string) $destination['network'] === "{$interface}ip"
	    || ($own !== false && @inet_pton((string) $destination['address']) === $own));
}

/* Port forwards of this port and interface: those to the service, or if there are none, those that lead the
 * interface's own address elsewhere, of which `build` may make one ours. Places in the list. */
function kmsctl_forwards($service) {
	$ours = array();
	$others = array();
	foreach (kmsctl_list('nat', 'rule') as $index => $rule) {
		$destination = kmsctl_side($rule, 'destination');
		if (!kmsctl_forwards_port($rule, $service)) {
			continue;
		}
		if (kmsctl_ours(kmsctl_text($rule, 'target'), $service)) {
			$ours[] = $index;
		} elseif (kmsctl_is_own_address($destination, $service['interface'])) {
			$others[] = $index;
		}
	}
	return $ours === array() ? array('places' => $others, 'ours' => false)
	    : array('places' => $ours, 'ours' => true);
}

function kmsctl_forwards_port($rule, $service) {
	$destination = kmsctl_side($rule, 'destination');
	return !kmsctl_has($rule, 'nordr') && kmsctl_text($rule, 'interface') === $service['interface']
	    && kmsctl_is_tcp($rule) && kmsctl_covers($destination['port'], $service['port']);
}

/* Whether saved records are the service's: its forward, and the filter rule that is joined to it or lets the service's
 * traffic in. What another alias had on the same port is another service's. */
function kmsctl_are_ours($records, $service) {
	$nat = $records['nat'] === null ? null : $records['nat']['record'];
	$filter = $records['filter'] === null ? null : $records['filter']['record'];
	if ($nat !== null && (!kmsctl_forwards_port($nat, $service)
	    || !kmsctl_ours(kmsctl_text($nat, 'target'), $service))) {
		return false;
	}
	$joined = $nat !== null && $filter !== null && kmsctl_is_linked($nat)
	    && kmsctl_text($nat, 'associated-rule-id') === kmsctl_text($filter, 'associated-rule-id');
	return $filter === null ? $nat !== null : $joined || kmsctl_lets_in($filter, $service);
}

function kmsctl_is_tcp($rule) {
	return in_array((string) kmsctl_text($rule, 'protocol'), array('tcp', 'tcp/udp'), true);
}

/* Whether a filter rule lets the service's traffic in; with a target, also what is forwarded there. */
function kmsctl_lets_in($rule, $service, $target = null) {
	$destination = kmsctl_side($rule, 'destination');
	$type = (string) kmsctl_text($rule, 'type');
	return ($type === '' || $type === 'pass') && !kmsctl_has($rule, 'floating') && kmsctl_is_tcp($rule)
	    && kmsctl_text($rule, 'interface') === $service['interface'] && !$destination['not']
	    && trim((string) $destination['port']) === (string) $service['port']
	    && (kmsctl_ours($destination['address'], $service) || ($target !== null && $destination['address'] === $target));
}

/* The filter rules joined to the port forwards, or else those that let the service's traffic in; those to elsewhere
 * may let in what other port forwards bring. Places in the list. */
function kmsctl_passes($service, $forwards) {
	$nat = kmsctl_list('nat', 'rule');
	$joined = array();
	foreach ($forwards as $index) {
		if (kmsctl_is_linked($nat[$index])) {
			$joined[] = kmsctl_text($nat[$index], 'associated-rule-id');
		}
	}
	$linked = array();
	$matching = array();
	foreach (kmsctl_list('filter', 'rule') as $index => $rule) {
		if (in_array(kmsctl_text($rule, 'associated-rule-id'), $joined, true)) {
			$linked[] = $index;
		} elseif (kmsctl_lets_in($rule, $service)) {
			$matching[] = $index;
		}
	}
	return $linked === array() ? $matching : $linked;
}

function kmsctl_alias_place($name) {
	foreach (kmsctl_list('aliases', 'alias') as $index => $alias) {
		if (kmsctl_text($alias, 'name') === $name) {
			return $index;
		}
	}
	return null;
}

/* Where everything stands in the configuration that is in memory. */
function kmsctl_pair($service) {
	$forwards = kmsctl_forwards($service);
	return array(
		'nat' => $forwards['places'],
		'ours' => $forwards['ours'],
		'filter' => kmsctl_passes($service, $forwards['places']),
		'alias' => kmsctl_alias_place($service['alias']),
	);
}

function kmsctl_separators() {
	$nat = kmsctl_section('nat');
	$filter = kmsctl_section('filter');
	return array(
		'nat' => kmsctl_normal(isset($nat['separator']) ? $nat['separator'] : ''),
		'filter' => kmsctl_normal(isset($filter['separator']) ? $filter['separator'] : ''),
	);
}

function kmsctl_placed($section, $tag, $index) {
	if ($index === null) {
		return null;
	}
	$list = kmsctl_list($section, $tag);
	return array('index' => $index, 'record' => kmsctl_normal($list[$index]));
}

/* The records as they travel: the first of each kind; more than one are refused before anything is done to them. */
function kmsctl_records($service) {
	$pair = kmsctl_pair($service);
	return array(
		'nat' => kmsctl_placed('nat', 'rule', $pair['nat'] === array() ? null : $pair['nat'][0]),
		'filter' => kmsctl_placed('filter', 'rule', $pair['filter'] === array() ? null : $pair['filter'][0]),
		'alias' => kmsctl_placed('aliases', 'alias', $pair['alias']),
		'separators' => kmsctl_separators(),
	);
}

function kmsctl_all($section, $tag, $places) {
	$list = kmsctl_list($section, $tag);
	$records = array();
	foreach ($places as $index) {
		$records[] = kmsctl_normal($list[$index]);
	}
	return $records;
}

/* What a plan names: has anything that it shows or relies on changed since? */
function kmsctl_fingerprint($service) {
	$pair = kmsctl_pair($service);
	return hash('sha256', kmsctl_canonical(array(
		'alias' => kmsctl_all('aliases', 'alias', $pair['alias'] === null ? array() : array($pair['alias'])),
		'filter' => kmsctl_all('filter', 'rule', $pair['filter']),
		'nat' => kmsctl_all('nat', 'rule', $pair['nat']),
		'separators' => kmsctl_separators(),
	)));
}
?>
