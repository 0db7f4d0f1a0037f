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
	$locked = kmsctl_lock(array('id' => $action['id'], 'who' => $action['who'],
	    'what' => 'removing what kmsctl left behind', 'since' => time()));
	if (!$locked) {
		return array('cleaned' => 'locked', 'holder' => kmsctl_holder());
	}
	$own = kmsctl_state_directory() . '/lock';
	$stale = array_filter(array_column(kmsctl_leftovers(), 'stale', 'path'));
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
	kmsctl_unlock();
	return $answer;
}
?>
