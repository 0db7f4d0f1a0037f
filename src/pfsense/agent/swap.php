<?php
/*
 * Putting computed records in the place of those that were read. What they mean is the client's to know
 * (src/domain/pfsense/edit.rs); the rollback is the same with the two exchanged. Nothing is written here.
 */

/* The configuration in memory with `to` in the place of `from`, or null where `from` is not there, or twice. */
function kmsctl_swapped($from, $to) {
	global $config;
	$edited = $config;
	foreach (kmsctl_kinds() as $kind => list($section, $tag)) {
		if ($from[$kind] === $to[$kind]) {
			continue;
		}
		$list = isset($edited[$section][$tag]) && is_array($edited[$section][$tag])
		    ? array_values($edited[$section][$tag]) : array();
		if ($from[$kind] === null) {
			array_splice($list, min($to[$kind]['index'], count($list)), 0, array($to[$kind]['record']));
		} else {
			$places = kmsctl_places($list, $from[$kind]);
			if (count($places) !== 1) {
				return null;
			}
			array_splice($list, $places[0], 1, $to[$kind] === null ? array()
			    : array(kmsctl_merged($list[$places[0]], $to[$kind]['record'])));
		}
		if (!isset($edited[$section]) || !is_array($edited[$section])) {
			$edited[$section] = array();
		}
		$edited[$section][$tag] = $list;
		if ($list === array()) {
			unset($edited[$section][$tag]);
		}
	}
	foreach ($from['separators'] as $section => $bars) {
		/* Bars that were moved meanwhile stay where they are. */
		if ($bars !== $to['separators'][$section] && kmsctl_same(kmsctl_separator($section), $bars)) {
			$edited[$section]['separator'] = $to['separators'][$section];
		}
	}
	return $edited;
}

/* A value that does not change keeps its bytes, also where JSON could not carry them. */
function kmsctl_merged($present, $record) {
	foreach ($record as $key => $value) {
		if (array_key_exists($key, $present) && kmsctl_same($present[$key], $value)) {
			$record[$key] = $present[$key];
		}
	}
	return $record;
}
?>
