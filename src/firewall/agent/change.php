<?php
/*
 * A change as an edit of the arrays that pfSense holds in memory; nothing is written here. Each edit returns null, or
 * the sentence why it is refused. pfSense's own helpers (delete_id, toggle_id) are not called: their arguments differ
 * between versions.
 */

/* The configuration as the change wants it, and why it cannot be so, or null. */
function kmsctl_edited($service, $change, $who) {
	global $config;
	$edited = $config;
	$pair = kmsctl_pair($service);
	$problem = kmsctl_ambiguity($pair);
	if ($problem === null) {
		switch ($change['kind']) {
		case 'caps':
			$problem = kmsctl_edit_caps($edited, $pair, $change, $who);
			break;
		case 'disable':
			$problem = kmsctl_edit_disable($edited, $pair);
			break;
		case 'enable':
			$problem = kmsctl_edit_enable($edited, $pair);
			break;
		case 'delete':
			$problem = kmsctl_edit_delete($edited, $pair);
			break;
		case 'put-back':
			$problem = kmsctl_edit_put_back($edited, $pair, $change, $service);
			break;
		case 'build':
			$problem = kmsctl_edit_build($edited, $pair, $service, $change, $who);
			break;
		default:
			$problem = 'this kind of change is not known';
		}
	}
	return array($edited, $problem);
}

function kmsctl_ambiguity($pair) {
	if (count($pair['nat']) > 1) {
		return count($pair['nat']) . ' port forwards match; it is not clear which is meant';
	}
	if (count($pair['filter']) > 1) {
		return count($pair['filter']) . ' filter rules match; it is not clear which is meant';
	}
	return null;
}

function kmsctl_stamp($who) {
	return array('time' => (string) time(), 'username' => "kmsctl ({$who})");
}

/* Sets a text, or removes the key; an empty element and an absent one mean the same. Tells whether it differed. */
function kmsctl_set(&$record, $key, $text) {
	$present = (string) kmsctl_text($record, $key);
	if ($present === (string) $text) {
		return false;
	}
	if ($text === null) {
		unset($record[$key]);
	} else {
		$record[$key] = (string) $text;
	}
	return true;
}

/* Both rate keys together: one alone makes pfSense up to 2.7.2 write a ruleset that does not load. */
function kmsctl_set_caps(&$rule, $change) {
	$rate = isset($change['rate']) ? $change['rate'] : null;
	$conn = isset($change['max_src_conn']) ? $change['max_src_conn'] : null;
	$differed = kmsctl_set($rule, 'max-src-conn', $conn);
	$differed = kmsctl_set($rule, 'max-src-conn-rate', $rate === null ? null : $rate['connections']) || $differed;
	return kmsctl_set($rule, 'max-src-conn-rates', $rate === null ? null : $rate['seconds']) || $differed;
}

/* What the GUI would refuse, and what pf cannot count: it keeps the rate times 1000 in 32 bits. */
function kmsctl_bad_caps($change) {
	$within = function ($value, $most) {
		return is_int($value) && $value >= 1 && $value <= $most;
	};
	if (isset($change['max_src_conn']) && !$within($change['max_src_conn'], 4294967295)) {
		return 'the cap on connections must be 1 or more';
	}
	if (isset($change['rate']) && (!$within($change['rate']['connections'], 4294966)
	    || !$within($change['rate']['seconds'], 255))) {
		return 'the rate must be 1 or more connections within 1 to 255 seconds';
	}
	return null;
}

function kmsctl_edit_caps(&$config, $pair, $change, $who) {
	$nat = kmsctl_list('nat', 'rule');
	foreach ($pair['nat'] as $index) {
		if (kmsctl_text($nat[$index], 'associated-rule-id') === 'pass') {
			return 'the port forward passes traffic by itself (association "Pass"), so there is no rule for caps';
		}
	}
	$problem = kmsctl_not_only_ours($pair);
	if ($problem !== null) {
		return $problem;
	}
	if ($pair['filter'] === array()) {
		return 'there is no filter rule that could carry caps';
	}
	$rule = &$config['filter']['rule'][$pair['filter'][0]];
	if (!in_array((string) kmsctl_text($rule, 'type'), array('', 'pass'), true)) {
		return 'the filter rule does not pass traffic, so caps have no meaning on it';
	}
	if (!kmsctl_is_tcp($rule)) {
		return 'the filter rule is not for TCP; pfSense ignores caps on others';
	}
	if (kmsctl_text($rule, 'statetype') === 'none') {
		return 'the filter rule keeps no state; pfSense ignores caps on such';
	}
	$problem = kmsctl_bad_caps($change);
	if ($problem === null && kmsctl_set_caps($rule, $change)) {
		$rule['updated'] = kmsctl_stamp($who);
	}
	return $problem;
}

/* Refuses rules of more than the service: to end one port would end others too. */
function kmsctl_not_only_ours($pair) {
	global $kmsctl_request;
	$nat = kmsctl_list('nat', 'rule');
	$port = (string) $kmsctl_request['service']['port'];
	foreach ($pair['nat'] as $index) {
		$destination = kmsctl_side($nat[$index], 'destination');
		if (!$pair['ours']) {
			return 'the port forward of this port leads elsewhere (' . kmsctl_text($nat[$index], 'target') . ')';
		}
		if (trim((string) $destination['port']) !== $port) {
			return "the port forward is for more than port {$port} ({$destination['port']})";
		}
	}
	return null;
}

function kmsctl_edit_disable(&$config, $pair) {
	if ($pair['nat'] === array() && $pair['filter'] === array()) {
		return 'there are no such rules';
	}
	$problem = kmsctl_not_only_ours($pair);
	if ($problem !== null) {
		return $problem;
	}
	foreach (array('nat', 'filter') as $section) {
		foreach ($pair[$section] as $index) {
			$rule = &$config[$section]['rule'][$index];
			if (!kmsctl_has($rule, 'disabled')) {
				$rule['disabled'] = '';
			}
			unset($rule);
		}
	}
	return null;
}

function kmsctl_edit_enable(&$config, $pair) {
	$nat = kmsctl_list('nat', 'rule');
	/* A forward that passes by itself has no filter rule. */
	$passes = $pair['nat'] !== array() && kmsctl_text($nat[$pair['nat'][0]], 'associated-rule-id') === 'pass';
	if ($pair['nat'] === array() || ($pair['filter'] === array() && !$passes)) {
		return 'one of the two rules is missing; the pair must be built or put back';
	}
	$problem = kmsctl_not_only_ours($pair);
	if ($problem !== null) {
		return $problem;
	}
	foreach (array('nat', 'filter') as $section) {
		foreach ($pair[$section] as $index) {
			unset($config[$section]['rule'][$index]['disabled']);
		}
	}
	return null;
}

/* Where a rule's separators are counted, and how many rules of that place stand above this index. */
function kmsctl_place($list, $section, $rule, $index) {
	$key = kmsctl_separator_key($section, $rule);
	$above = 0;
	foreach ($list as $at => $other) {
		if ($at < $index && is_array($other) && kmsctl_separator_key($section, $other) === $key) {
			$above++;
		}
	}
	return array($key, $above);
}

/* Separators of port forwards are in one map; those of filter rules in one for each interface. */
function kmsctl_separator_key($section, $rule) {
	if ($section === 'nat') {
		return null;
	}
	return kmsctl_has($rule, 'floating') ? 'floatingrules' : strtolower((string) kmsctl_text($rule, 'interface'));
}

/* Moves the separators below the place by `$by`. Each stands below K rules (`frK`), counted in its place. */
function kmsctl_shift($separators, $key, $above, $by) {
	$map = $key === null ? $separators : (is_array($separators) && isset($separators[$key]) ? $separators[$key] : '');
	if (!is_array($map)) {
		return $separators;
	}
	foreach ($map as $name => $separator) {
		if (!is_array($separator) || !isset($separator['row'])) {
			continue;
		}
		$row = is_array($separator['row']) ? (string) reset($separator['row']) : (string) $separator['row'];
		if (preg_match('/^fr([0-9]+)$/', $row, $found) && (int) $found[1] > $above) {
			$moved = 'fr' . ((int) $found[1] + $by);
			$map[$name]['row'] = is_array($separator['row']) ? array($moved) : $moved;
		}
	}
	if ($key === null) {
		return $map;
	}
	$separators[$key] = $map;
	return $separators;
}

function kmsctl_separators_of($config, $section) {
	return isset($config[$section]['separator']) ? $config[$section]['separator'] : '';
}

/* An empty map is left as it was: '' and an absent element are different configurations. */
function kmsctl_set_separators(&$config, $section, $separators) {
	$present = kmsctl_separators_of($config, $section);
	if (kmsctl_canonical(kmsctl_normal($present)) !== kmsctl_canonical(kmsctl_normal($separators))) {
		$config[$section]['separator'] = $separators;
	}
}

function kmsctl_remove_rule(&$config, $section, $index) {
	$list = $config[$section]['rule'];
	list($key, $above) = kmsctl_place($list, $section, $list[$index], $index);
	kmsctl_set_separators($config, $section,
	    kmsctl_shift(kmsctl_separators_of($config, $section), $key, $above, -1));
	array_splice($list, $index, 1);
	if ($list === array()) {
		unset($config[$section]['rule']);
	} else {
		$config[$section]['rule'] = $list;
	}
}

/* Separators go back to where they were if nobody has moved them since the rule went; else they make room. */
function kmsctl_insert_rule(&$config, $section, $index, $rule, $separators_before) {
	if (!isset($config[$section]) || !is_array($config[$section])) {
		$config[$section] = array();
	}
	$list = isset($config[$section]['rule']) && is_array($config[$section]['rule']) ? $config[$section]['rule'] : array();
	$index = min($index, count($list));
	list($key, $above) = kmsctl_place($list, $section, $rule, $index);
	$present = kmsctl_separators_of($config, $section);
	$then = kmsctl_canonical(kmsctl_normal(kmsctl_shift($separators_before, $key, $above, -1)));
	$untouched = $then === kmsctl_canonical(kmsctl_normal($present));
	kmsctl_set_separators($config, $section,
	    $untouched ? $separators_before : kmsctl_shift($present, $key, $above, 1));
	array_splice($list, $index, 0, array($rule));
	$config[$section]['rule'] = $list;
}

function kmsctl_edit_delete(&$config, $pair) {
	if ($pair['nat'] === array() && $pair['filter'] === array()) {
		return 'there are no such rules';
	}
	$problem = kmsctl_not_only_ours($pair);
	if ($problem !== null) {
		return $problem;
	}
	$tracker = '';
	foreach ($pair['filter'] as $index) {
		$tracker = kmsctl_text($config['filter']['rule'][$index], 'tracker');
	}
	foreach (array('nat', 'filter') as $section) {
		foreach ($pair[$section] as $index) {
			kmsctl_remove_rule($config, $section, $index);
		}
	}
	return kmsctl_tracker_taken($config, $tracker)
	    ? 'another rule has the tracker of the filter rule, so it could not be put back; disable it instead' : null;
}

/* Which rules the records replace. A forward of the port to elsewhere is not ours to replace, unless it bears the
 * association of the one that comes back; it may stand beside it, unless both are for the same address. */
function kmsctl_replaced($pair, $wanted) {
	global $kmsctl_request;
	if ($pair['ours'] || $pair['nat'] === array()) {
		return array($pair, null);
	}
	$nat = kmsctl_list('nat', 'rule');
	$present = $nat[$pair['nat'][0]];
	if ($wanted !== null) {
		$association = kmsctl_text($wanted['record'], 'associated-rule-id');
		if (kmsctl_is_linked($present) && kmsctl_text($present, 'associated-rule-id') === $association) {
			return array($pair, null);
		}
		$same = kmsctl_side($present, 'destination') === kmsctl_side($wanted['record'], 'destination');
		if ($same && !kmsctl_has($present, 'disabled')) {
			return array($pair, 'another port forward uses this port');
		}
	}
	$pair['nat'] = array();
	$pair['filter'] = kmsctl_passes($kmsctl_request['service'], array());
	return array($pair, kmsctl_ambiguity($pair));
}

function kmsctl_edit_put_back(&$config, $pair, $change, $service) {
	$records = $change['records'];
	list($pair, $problem) = kmsctl_replaced($pair, $records['nat']);
	/* In the place of the service's rules may come what they had replaced; where there are none, only its own. */
	$ours = kmsctl_are_ours($records, $service);
	foreach (array('nat', 'filter') as $section) {
		if ($problem === null) {
			$index = $pair[$section] === array() ? null : $pair[$section][0];
			if ($index === null && $records[$section] !== null && !$ours) {
				return "the rules to put back are not those of {$service['alias']}";
			}
			$problem = kmsctl_put_rule_back($config, $section, $index, $records[$section],
			    $records['separators'][$section]);
		}
	}
	if ($problem === null && !empty($change['alias'])) {
		kmsctl_put_alias_back($config, $pair, $records['alias']);
	}
	return $problem;
}

function kmsctl_put_rule_back(&$config, $section, $index, $wanted, $separators) {
	if ($wanted === null) {
		if ($index !== null) {
			kmsctl_remove_rule($config, $section, $index);
		}
	} elseif ($index !== null) {
		$config[$section]['rule'][$index] = $wanted['record'];
	} elseif ($section === 'filter' && kmsctl_tracker_taken($config, kmsctl_text($wanted['record'], 'tracker'))) {
		return 'another rule has its tracker now';
	} else {
		kmsctl_insert_rule($config, $section, $wanted['index'], $wanted['record'], $separators);
	}
	return null;
}

function kmsctl_put_alias_back(&$config, $pair, $wanted) {
	if ($wanted === null && $pair['alias'] !== null) {
		array_splice($config['aliases']['alias'], $pair['alias'], 1);
		if ($config['aliases']['alias'] === array()) {
			unset($config['aliases']['alias']);
		}
	} elseif ($wanted !== null && $pair['alias'] !== null) {
		$config['aliases']['alias'][$pair['alias']] = $wanted['record'];
	} elseif ($wanted !== null) {
		kmsctl_insert_alias($config, $wanted['record'], $wanted['index']);
	}
}

function kmsctl_insert_alias(&$config, $record, $index) {
	$aliases = kmsctl_list('aliases', 'alias');
	array_splice($aliases, min($index, count($aliases)), 0, array($record));
	if (!isset($config['aliases']) || !is_array($config['aliases'])) {
		$config['aliases'] = array();
	}
	$config['aliases']['alias'] = $aliases;
}

function kmsctl_tracker_taken($config, $tracker) {
	$list = isset($config['filter']['rule']) && is_array($config['filter']['rule']) ? $config['filter']['rule'] : array();
	foreach ($list as $rule) {
		if ((string) $tracker !== '' && (string) kmsctl_text($rule, 'tracker') === (string) $tracker) {
			return true;
		}
	}
	return false;
}
?>
