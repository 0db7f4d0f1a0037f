<?php
/*
 * Removes what kmsctl left behind on the firewall: the named files that still are as they were judged, under the lock, so that
 * no change is being made meanwhile. The names are compared with what is found, and never used as they came.
 */

function kmsctl_clean($request) {
	$action = $request['action'];
	$problem = kmsctl_make_directory();
	if ($problem !== null) {
		throw new Exception($problem);
	}
	$locked = kmsctl_lock(array('id' => $action['id'], 'who' => $action['who'],
	    'what' => 'removing what kmsctl left behind', 'since' => time()));
	if (!$locked) {
		return array('cleaned' => 'locked', 'holder' => kmsctl_holder());
	}
	$since = array_column(kmsctl_files(), 'since', 'path');
	$at_work = array_column(array_filter(kmsctl_all_stored(), 'kmsctl_is_at_work'), 'id');
	$answer = array('cleaned' => 'done', 'removed' => array(), 'kept' => array());
	foreach ($action['files'] as $file) {
		$path = $file['path'];
		$is_left = isset($since[$path]) && $since[$path] === $file['since'];
		foreach ($at_work as $id) {
			$is_left = $is_left && strpos(basename($path), $id) === false;
		}
		/* Of the lock only what it says can be left over: having taken it, we give it back without that. */
		if ($path === kmsctl_lock_path() || !file_exists($path) || ($is_left && @unlink($path))) {
			$answer['removed'][] = $path;
		} else {
			$answer['kept'][] = array('path' => $path, 'why' => $is_left
			    ? kmsctl_last_error() : 'it is not left over any more');
		}
	}
	kmsctl_unlock();
	return $answer;
}
?>
