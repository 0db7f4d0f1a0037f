<?php
/*
 * Putting computed records in the place of those that were read. What they mean is the client's to know
 * (src/domain/pfsense/edit.rs); the rollback is the same with the two exchanged. Nothing is written here.
 */

/* Where a record comes back: before the one below it where both that stood beside it are there, once each and in order, else behind
 * what is left of them and not before its index (as src/domain/pfsense/beside.rs). */
function kmsctl_place_beside($list, $placed) {
	$found = array();
	foreach (isset($placed['beside']) ? $placed['beside'] : array() as $side) {
		$places = kmsctl_named_places($list, array($side['record']));
		$found = array_merge($found, count($places) === 1 ? array($places[0] + (int) $side['behind']) : array());
	}
	$is_between = count($found) === 2 && $found[0] <= $found[1];
	$alone = isset($placed['beside']) && $placed['beside'] === array();
	$index = $alone ? count($list) : min($placed['index'], count($list));
	return $is_between ? $found[1] : max(array_merge($found, array($index)));
}

/* The configuration in memory with `to` in the place of `from`, or null where `from` is not there or twice. */
function kmsctl_swapped($from, $to) {
	global $config;
	$edited = $config;
	foreach (kmsctl_kinds() as $kind => list($section, $tag)) {
		if ($from[$kind] === $to[$kind]) {
			continue;
		}
		$comes = $from[$kind] === null;
		$edited[$section] = isset($edited[$section]) && is_array($edited[$section]) ? $edited[$section] : array();
		$list = isset($edited[$section][$tag]) && is_array($edited[$section][$tag])
		    ? array_values($edited[$section][$tag]) : array();
		$places = $comes ? array(kmsctl_place_beside($list, $to[$kind])) : kmsctl_places($list, $from[$kind]);
		if (count($places) !== 1) {
			return null;
		}
		array_splice($list, $places[0], $comes ? 0 : 1, $to[$kind] === null ? array()
		    : array(kmsctl_merged($comes ? array() : $list[$places[0]], $to[$kind]['record'])));
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
