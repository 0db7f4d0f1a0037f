<?php
/*
 * Removes what kmsctl left behind on the firewall: of the named files those that are still left over, under the lock,
 * so that no change is being made meanwhile. The names are compared with what is found, and never used as they came.
 */

function kmsctl_clean($request) {
	$action = $request['action'];
	$problem = kmsctl_make_directory();
	if ($problem !== null) {
		throw new Exception($problem);
	}
	$lock = kmsctl_lock(array('id' => $action['id'], 'who' => $action['who'],
	    'what' => 'removing what kmsctl left behind', 'since' => time()));
	if ($lock === null) {
		return array('cleaned' => 'locked', 'holder' => kmsctl_holder());
	}
	$own = kmsctl_state_directory() . '/lock';
	$stale = kmsctl_stale();
	$answer = array('cleaned' => 'done', 'removed' => array(), 'kept' => array());
	foreach ($action['paths'] as $path) {
		/* Of the lock only what it says can be left over: having taken it, we give it back without that. */
		if ($path === $own || !file_exists($path) || (isset($stale[$path]) && @unlink($path))) {
			$answer['removed'][] = $path;
		} else {
			$answer['kept'][] = array('path' => $path, 'why' => isset($stale[$path])
			    ? kmsctl_last_error() : 'it is not left over any more');
		}
	}
	kmsctl_unlock($lock);
	return $answer;
}

/* What is left over now, by path. */
function kmsctl_stale() {
	$stale = array();
	foreach (kmsctl_leftovers() as $file) {
		if ($file['stale']) {
			$stale[$file['path']] = true;
		}
	}
	return $stale;
}
?>
