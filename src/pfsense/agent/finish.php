<?php
/*
 * What comes after a change: bringing an interrupted one to an end, taking a temporary one back, answering what became
 * of one. The armed job runs this each minute; so does whoever asks or comes next.
 */

/* Before pfSense's code is loaded, which takes a second of the firewall's time: has the armed job anything to do? If
 * a full disk has cut config.xml, the file is made whole first: pfSense's code would end, or restore what it likes. */
function kmsctl_worth_a_look($request) {
	$id = $request['action']['id'];
	$stored = $request['action']['name'] === 'revert' ? kmsctl_stored($id) : null;
	if ($stored === null || $stored['phase'] === 'ended') {
		return $stored === null || kmsctl_is_due($stored);
	}
	if (!kmsctl_lock(kmsctl_running($stored))) {
		/* Another process is at work on it. */
		return false;
	}
	$whole = kmsctl_is_whole(@file_get_contents(kmsctl_config_path()));
	$kept = kmsctl_mend($id, null);
	/* Read again under the lock: what was read before may be older than what the process before us has noted. */
	$stored = $whole ? null : kmsctl_stored($id);
	if ($stored !== null) {
		/* A box that started meanwhile has loaded the damaged one. */
		$stored['mended'] = true;
		$stored['outcome']['lost_update'] = $kept === null ? $stored['outcome']['lost_update'] : $kept;
		kmsctl_save($stored);
	}
	kmsctl_unlock();
	return true;
}

/* One look of the armed job, or of somebody who will not wait for it. */
function kmsctl_revert($request) {
	$id = $request['action']['id'];
	$stored = kmsctl_stored($id);
	if ($stored === null) {
		kmsctl_disarm($id);
	} elseif (kmsctl_lock(kmsctl_running($stored))) {
		$stored = kmsctl_stored($id);
		if ($stored !== null) {
			kmsctl_load();
			kmsctl_go_on($stored);
		}
		kmsctl_unlock();
	}
	return null;
}

function kmsctl_is_due($stored) {
	return $stored['phase'] !== 'ended' || $stored['revert_at'] === null || $stored['revert_at'] <= time();
}

function kmsctl_go_on($stored) {
	if (!kmsctl_is_at_work($stored)) {
		kmsctl_disarm($stored['id']);
		return;
	}
	if (!kmsctl_is_due($stored)) {
		return;
	}
	/* Counted before it is tried: what ends the process each time must not be tried for ever. Those of one minute
	 * count once: whoever asks again and again must not use up the attempts of the job. */
	$counted = isset($stored['counted']) ? $stored['counted'] : 0;
	if (abs(time() - $counted) >= 50) {
		$stored['attempts']++;
		$stored['counted'] = time();
	}
	if ($stored['phase'] === 'ended') {
		$stored['phase'] = 'reverting';
	}
	kmsctl_save($stored);
	if ($stored['attempts'] > 5) {
		$message = 'it could not be brought to an end after several attempts; look at the rules';
		kmsctl_notice($stored, $message);
		kmsctl_abandon($stored, 'unproven', $message);
	} elseif ($stored['phase'] === 'started') {
		kmsctl_resume($stored);
	} else {
		kmsctl_back_out($stored);
	}
}

function kmsctl_notice($stored, $message) {
	if (function_exists('file_notice')) {
		file_notice('kmsctl', "kmsctl, change {$stored['id']} ({$stored['what']}, by {$stored['who']}): {$message}",
		    'kmsctl', '', 1);
	}
}

/* An apply that was killed. What stands on disk decides: written means that the operator's wish goes on. */
function kmsctl_resume($stored) {
	kmsctl_step($stored, 'resume', true, 'the process that made this change was interrupted');
	$stand = kmsctl_stand($stored);
	if (!empty($stored['only_loads'])) {
		kmsctl_load_and_prove($stored);
	} elseif ($stand === 'before') {
		$problem = kmsctl_in_force($stored, false);
		kmsctl_end($stored, $problem === null ? 'failed' : 'unproven', $problem === null
		    ? 'it was interrupted before it had written; the old rules are in force' : $problem, null);
	} elseif ($stand === 'after') {
		kmsctl_find_lost($stored);
		kmsctl_load_and_prove($stored);
	} else {
		kmsctl_end($stored, 'unproven', 'it was interrupted, and the rules have been changed by somebody else since', null);
		kmsctl_notice($stored, 'interrupted; the rules have been changed by somebody else since and were left alone');
	}
}

/* After a crash the check for a lost update was perhaps not reached, or not noted; our copy is what had been loaded. */
function kmsctl_find_lost(&$stored) {
	$raw = @file_get_contents(kmsctl_copy_path($stored['id']));
	if ($raw !== false && $stored['outcome']['lost_update'] === null) {
		$stored['outcome']['lost_update'] = kmsctl_lost_update($stored['id'], kmsctl_time_of($raw), $raw);
	}
}

/* Loads the old records if they have just been written, or if pf may not run them. What speaks against them being in
 * force, or null. */
function kmsctl_in_force(&$stored, $wrote) {
	if (!$wrote && empty($stored['mended']) && kmsctl_prove($stored['proof']['before'], $stored['service']) === null) {
		return null;
	}
	$dirty = kmsctl_dirty();
	if ($dirty !== array()) {
		/* Nobody is asked at this hour; that it happened is said, also if it takes another attempt. */
		$stored['activated'] = implode(', ', $dirty);
	}
	$reload = kmsctl_reload();
	kmsctl_step($stored, 'reload', $reload === null, $reload === null ? '' : $reload[1]);
	/* pfSense falls back to the last good ruleset; what counts here is what pf runs. */
	$problem = kmsctl_prove($stored['proof']['before'], $stored['service']);
	kmsctl_step($stored, 'prove', $problem === null, $problem === null ? '' : $problem[1]);
	return $problem === null ? null : $problem[1];
}

/* Puts the old records back: because the new ones could not be proven, or because their time is over. */
function kmsctl_back_out($stored) {
	$stand = kmsctl_stand($stored);
	if ($stand === 'after') {
		$problem = kmsctl_write_back($stored);
		if ($problem !== null) {
			kmsctl_not_backed_out($stored, $problem);
			return;
		}
	} elseif ($stand === 'otherwise') {
		kmsctl_left_alone($stored);
		return;
	} else {
		kmsctl_find_lost($stored);
	}
	$problem = kmsctl_in_force($stored, $stand === 'after');
	if ($problem !== null) {
		kmsctl_not_backed_out($stored, $problem);
	} elseif ($stored['phase'] === 'backing-out') {
		$message = kmsctl_with_activated($stored, "{$stored['why']}; the old rules are back in force");
		kmsctl_end($stored, 'rolled-back', $message, null);
	} else {
		/* Which an earlier attempt may have done. */
		$ours = isset($stored['writes_back']);
		kmsctl_reverted($stored, $ours ? 'done' : 'nothing-to-do', kmsctl_with_activated($stored, $ours
		    ? 'its time was over; the old rules are back in force' : 'the old rules were back already'));
	}
}

/* Adds what else the loading of the old rules has put in force, and files a notice of that. */
function kmsctl_with_activated($stored, $message) {
	if (!isset($stored['activated'])) {
		return $message;
	}
	$message .= "; this also activated changes saved in the GUI and not applied ({$stored['activated']})";
	kmsctl_notice($stored, $message);
	return $message;
}

function kmsctl_write_back(&$stored) {
	$raw = kmsctl_load_to_write();
	$edited = kmsctl_swapped($stored['after'], $stored['before']);
	if ($edited === null) {
		return 'a record that it has made is not there, or twice, or what stood beside one that comes back is not';
	}
	$stored['writes_back'] = true;
	if (!kmsctl_put_file(kmsctl_copy_path($stored['id']), $raw) || !kmsctl_save($stored)) {
		return 'no file can be written: ' . kmsctl_last_error();
	}
	$why = $stored['phase'] === 'reverting' ? 'its time is over' : 'it could not be proven';
	list($how, $detail) = kmsctl_write($stored, $edited, $raw, "kmsctl {$stored['id']}: taken back, {$why}");
	kmsctl_step($stored, 'roll-back', $how === 'written', $detail);
	kmsctl_save($stored);
	return kmsctl_stand($stored) === 'before' ? null : $detail;
}

/* Tried again in a minute, by the same job; the answer of now is that nothing is proven. */
function kmsctl_not_backed_out($stored, $problem) {
	kmsctl_step($stored, 'roll-back', false, $problem);
	if ($stored['phase'] === 'backing-out') {
		$stored['outcome']['result'] = 'unproven';
		$stored['outcome']['message'] = "{$stored['why']}; it could not be taken back yet: {$problem}";
	}
	kmsctl_save($stored);
}

/* Ends what is not brought to an end any more: a change, or its rollback. */
function kmsctl_abandon($stored, $reverted, $message) {
	if ($stored['phase'] === 'reverting') {
		kmsctl_reverted($stored, $reverted, $message);
	} else {
		kmsctl_end($stored, 'unproven', $message, null);
	}
}

function kmsctl_left_alone($stored) {
	$message = 'the rules have been changed by somebody else since, so they were left alone';
	kmsctl_notice($stored, "not taken back: {$message}");
	if ($stored['phase'] !== 'reverting') {
		kmsctl_step($stored, 'left-alone', true, $message);
		$message = "{$stored['why']}; {$message}";
	}
	kmsctl_abandon($stored, 'stale', $message);
}

function kmsctl_reverted($stored, $result, $message) {
	$stored['phase'] = 'ended';
	$stored['revert_at'] = null;
	$stored['outcome']['reverted'] = array('at' => time(), 'result' => $result, 'message' => $message);
	if (kmsctl_save($stored)) {
		kmsctl_disarm($stored['id']);
	}
}

/* A proven change stands in the place of the older ones: no rollback of theirs may end it, not even where it has made
 * the rules what the older one had made of them. */
function kmsctl_supersede(&$stored) {
	foreach (kmsctl_armed_on($stored['service']) as $older) {
		if ($older['id'] === $stored['id']) {
			continue;
		}
		kmsctl_reverted($older, 'stale', "superseded by {$stored['id']}");
		/* Also where a full disk kept that from being noted. */
		kmsctl_disarm($older['id']);
		kmsctl_step($stored, 'supersede', !is_file(kmsctl_job_path($older['id'])), $older['id']);
	}
}

/* Ends what dead processes have left unfinished of these rules: having the lock, nobody else is at it. What they wrote
 * stays as it is. Returns whose it was. */
function kmsctl_take_over($request) {
	$taken = array();
	kmsctl_load();
	foreach (kmsctl_all_stored() as $stored) {
		if ($stored['phase'] === 'ended' || !kmsctl_is_about($stored, $request['action']['service'])) {
			continue;
		}
		$message = "it had not come to an end, and {$request['action']['id']} has taken it over";
		kmsctl_abandon($stored, 'stale', $message);
		/* Also where a full disk kept that from being noted. */
		kmsctl_disarm($stored['id']);
		$taken[] = $stored['id'];
	}
	return $taken;
}

/* Brings an interrupted change to an end as far as it can be done now: by its job, in a process of its own, as pfSense's
 * development branch cannot load its ruleset twice in one. */
function kmsctl_finish_by_job($id) {
	global $kmsctl_request;
	$job = kmsctl_job_path($id);
	if (is_file($job)) {
		exec(escapeshellarg($kmsctl_request['php']) . ' -f ' . escapeshellarg($job) . ' </dev/null >/dev/null 2>&1');
		return;
	}
	/* Interrupted before it was armed, so nothing was written. Under the lock: perhaps it is about to be armed. */
	$stored = kmsctl_stored($id);
	if ($stored !== null && kmsctl_lock(kmsctl_running($stored))) {
		$stored = kmsctl_stored($id);
		if ($stored['phase'] === 'started' && !is_file(kmsctl_job_path($id))) {
			kmsctl_end($stored, 'failed', 'it was interrupted before it had written anything', null);
		}
		kmsctl_unlock();
	}
}

/* What is stored of a change, which is brought to an end first as far as that can be done now; null if it is unknown. One
 * that does not come to an end is unproven, and not refused: it may be written. */
function kmsctl_settled($id) {
	$stored = kmsctl_stored($id);
	if ($stored !== null && $stored['phase'] !== 'ended') {
		kmsctl_finish_by_job($id);
		$stored = kmsctl_stored($id);
	}
	return $stored;
}

function kmsctl_tell($request) {
	$stored = kmsctl_settled($request['action']['id']);
	if ($stored === null && $request['action']['settle']) {
		$stored = kmsctl_call_off($request);
	}
	if ($stored === null || $stored['settled']) {
		return array('known' => 'unknown');
	}
	if ($stored['phase'] === 'ended') {
		kmsctl_prune();
	}
	/* A change that is just being taken back has ended as a change long ago. */
	if ($stored['phase'] === 'ended' || $stored['phase'] === 'reverting') {
		return array('known' => 'ended', 'outcome' => $stored['outcome']);
	}
	return array('known' => 'running', 'running' => kmsctl_running($stored));
}

/* Takes the id, so that a request which still travels finds it taken. Returns what another has stored meanwhile. */
function kmsctl_call_off($request) {
	$none = array('nat' => null, 'filter' => null, 'alias' => null, 'separators' => array());
	$request['action'] += array('who' => '', 'reason' => null, 'revert_at' => null, 'what' => 'nothing',
	    'swap' => array('before' => $none, 'after' => $none, 'names' => array(), 'proof' => null, 'stays' => false, 'deletes' => false));
	$stored = kmsctl_nothing_stored($request);
	$stored['phase'] = 'ended';
	$stored['settled'] = true;
	$stored['outcome']['result'] = 'refused';
	$stored['outcome']['message'] = 'it was called off before it arrived';
	if (kmsctl_make_directory() !== null || kmsctl_claim($stored) === null) {
		throw new Exception('the answer cannot be made final: ' . kmsctl_last_error());
	}
	return kmsctl_stored($request['action']['id']);
}

function kmsctl_keep($request) {
	$id = $request['action']['id'];
	$stored = kmsctl_stored($id);
	if ($stored === null) {
		return array('kept' => 'not-armed');
	}
	if (!kmsctl_lock(kmsctl_running($stored))) {
		$holder = kmsctl_holder();
		return array('kept' => 'locked', 'holder' => $holder === null ? kmsctl_running($stored) : $holder);
	}
	$stored = kmsctl_stored($id);
	$answer = array('kept' => 'not-armed');
	if ($stored['outcome']['reverted'] !== null) {
		$answer = array('kept' => 'reverted', 'reverted' => $stored['outcome']['reverted']);
	} elseif ($stored['phase'] === 'ended' && $stored['revert_at'] !== null) {
		$answer = array('kept' => 'kept', 'reverts_at' => $stored['revert_at']);
		/* Prolonged, the armed job finds the new time at its next look; no wish makes the time shorter. */
		$until = isset($request['action']['until']) ? max($request['action']['until'], $stored['revert_at']) : null;
		$stored['revert_at'] = $until;
		$stored['outcome']['reverts_at'] = $until;
		if (!kmsctl_save($stored)) {
			throw new Exception('the wish to keep it cannot be noted: ' . kmsctl_last_error());
		}
		if ($until === null) {
			kmsctl_disarm($id);
		}
	} elseif ($stored['phase'] === 'ended') {
		/* An earlier wish may have been noted and then broken off. */
		kmsctl_disarm($id);
	}
	kmsctl_unlock();
	return $answer;
}
?>
