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

/* Where each kind of record stands. */
function kmsctl_kinds() {
	return array('nat' => array('nat', 'rule'), 'filter' => array('filter', 'rule'), 'alias' => array('aliases', 'alias'));
}

function kmsctl_separator($section) {
	return kmsctl_has(kmsctl_section($section), 'separator') ? kmsctl_normal(kmsctl_section($section)['separator']) : '';
}

/* Places in a list of the records that are this one: pfSense sorts its lists, so an index is a hint only. */
function kmsctl_places($list, $record) {
	$wanted = kmsctl_canonical($record);
	$found = array();
	foreach ($list as $index => $present) {
		if (is_array($present) && kmsctl_canonical(kmsctl_normal($present)) === $wanted) {
			$found[] = $index;
		}
	}
	return $found;
}

/* Whether a record is what another writer has made of one that is swapped: it has all that one of these names it by. */
function kmsctl_is_same_object($record, $names) {
	foreach ($names as $name) {
		$present = kmsctl_normal(array_intersect_key($record, $name));
		if (kmsctl_canonical($present) === kmsctl_canonical($name)) {
			return true;
		}
	}
	return false;
}

/* What stands in the place of records that are swapped: those after, those before, or what others have made of them. */
function kmsctl_present($swap) {
	$records = array('nat' => null, 'filter' => null, 'alias' => null,
	    'separators' => array('nat' => kmsctl_separator('nat'), 'filter' => kmsctl_separator('filter')));
	foreach (kmsctl_kinds() as $kind => $place) {
		$list = array_values(kmsctl_list($place[0], $place[1]));
		$places = array();
		foreach (array($swap['after'][$kind], $swap['before'][$kind]) as $placed) {
			$places = $places === array() && $placed !== null ? kmsctl_places($list, $placed['record']) : $places;
		}
		foreach ($list as $index => $record) {
			if ($places === array() && isset($swap['names'][$kind]) && kmsctl_is_same_object($record, $swap['names'][$kind])) {
				$places = array($index);
			}
		}
		if ($places !== array()) {
			$records[$kind] = array('index' => $places[0], 'record' => kmsctl_normal($list[$places[0]]));
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

/* What names records: their content, wherever they stand. */
function kmsctl_fingerprint($records) {
	$of = function ($placed) {
		return $placed === null ? array() : array($placed['record']);
	};
	return hash('sha256', kmsctl_canonical(array('alias' => $of($records['alias']), 'filter' => $of($records['filter']),
	    'nat' => $of($records['nat']), 'separators' => $records['separators'])));
}

/* What a swap was judged by: every rule, the aliases and the separators, as they were reported. */
function kmsctl_digest($service) {
	return hash('sha256', kmsctl_canonical(kmsctl_rule_sections()
	    + array('aliases' => array('alias' => kmsctl_alias_records($service['alias'])))));
}
?>
