<?php
/*
 * Raw records: finding them again, and what they are worth comparing by. Which of them are the service's is decided by
 * src/domain/pfsense/managed.rs. Changes nothing.
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

function kmsctl_sorted($value) {
	if (!is_array($value)) {
		return $value;
	}
	$sorted = array_map('kmsctl_sorted', $value);
	if (array_keys($sorted) !== range(0, count($sorted) - 1)) {
		ksort($sorted, SORT_STRING);
	}
	return $sorted;
}

/* JSON with sorted names; the same for two configurations that mean the same. */
function kmsctl_canonical($value) {
	return kmsctl_encode(kmsctl_sorted(kmsctl_normal($value)));
}

function kmsctl_same($one, $other) {
	return kmsctl_canonical($one) === kmsctl_canonical($other);
}

/* Everything but the revision, which every write changes. */
function kmsctl_rest($config) {
	unset($config['revision']);
	return hash('sha256', kmsctl_canonical($config));
}

/* Where each kind of record stands. */
function kmsctl_kinds() {
	return array('nat' => array('nat', 'rule'), 'filter' => array('filter', 'rule'), 'alias' => array('aliases', 'alias'));
}

function kmsctl_separator($section) {
	return kmsctl_has(kmsctl_section($section), 'separator') ? kmsctl_normal(kmsctl_section($section)['separator']) : '';
}

/* Places in a list of the records that are this one: pfSense sorts its lists, so an index is a hint only. */
function kmsctl_places($list, $placed) {
	return array_keys(array_filter($list, function ($present) use ($placed) {
		return is_array($present) && $placed !== null && kmsctl_same($present, $placed['record']);
	}));
}

/* Places of the records that are what another writer has made of one that is swapped: they have all that one of these names
 * it by. */
function kmsctl_named_places($list, $names) {
	return array_keys(array_filter($list, function ($record) use ($names) {
		return array_filter($names, function ($name) use ($record) {
			return is_array($record) && kmsctl_same(array_replace_recursive($record, $name), $record);
		}) !== array();
	}));
}

/* What stands in the place of records that are swapped: those after, those before, or what others have made of them. */
function kmsctl_present($swap) {
	$records = array('nat' => null, 'filter' => null, 'alias' => null,
	    'separators' => array('nat' => kmsctl_separator('nat'), 'filter' => kmsctl_separator('filter')));
	foreach (kmsctl_kinds() as $kind => list($section, $tag)) {
		$list = kmsctl_list($section, $tag);
		$places = array_merge(kmsctl_places($list, $swap['after'][$kind]), kmsctl_places($list, $swap['before'][$kind]),
		    kmsctl_named_places($list, isset($swap['names'][$kind]) ? $swap['names'][$kind] : array()));
		if ($places !== array()) {
			$records[$kind] = array('index' => $places[0], 'record' => kmsctl_normal($list[$places[0]])) + (array) $swap['before'][$kind];
		}
	}
	return $records;
}

/* Whether the records of a change stand in the configuration as they were `before` or `after` it, or `otherwise`. Separators
 * do not count: an administrator who moves a coloured bar has not touched the exposure. Nor does an alias that the change
 * does not touch. */
function kmsctl_stand($stored) {
	$object = function ($records) use ($stored) {
		$touched = array('nat', 'filter');
		if ($stored['before']['alias'] !== $stored['after']['alias']) {
			$touched[] = 'alias';
		}
		return kmsctl_canonical(array_map(function ($kind) use ($records) {
			return $records[$kind] === null ? '' : $records[$kind]['record'];
		}, $touched));
	};
	$present = $object(kmsctl_present($stored));
	return $present === $object($stored['before']) ? 'before'
	    : ($present === $object($stored['after']) ? 'after' : 'otherwise');
}
?>
