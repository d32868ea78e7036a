package server

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// quiet is how long files must be left alone before they are read, so that a program that is still
	// writing is not read half-way.
	quiet = 50 * time.Millisecond
	// patience is the longest that changes wait for quiet.
	patience = 500 * time.Millisecond
	// pollEvery is how often files are compared where the system does not tell of changes, as on some
	// network file systems.
	pollEvery = 10 * time.Second
)

// watch reloads when a file or a table changes that the last load asked for, and on every signal of requests, until ctx ends.
//
// Folders are watched rather than files, because an editor's rename, Kubernetes' swap of the link "..data" and a
// release that takes the place of another change which file a name means.
func (r *reloader) watch(ctx context.Context, requests <-chan struct{}) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching files: %w", err)
	}
	defer watcher.Close()
	watched := map[string]fs.FileInfo{}
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		r.follow(watcher, watched)
		select {
		case <-ctx.Done():
			return nil
		case <-requests:
		case <-poll.C:
		case <-r.sources.changes():
		case _, ok := <-watcher.Events:
			if !ok {
				return nil
			}
			settle(ctx, watcher)
		case err := <-watcher.Errors: // events were lost: read everything
			r.logger.Warn("watching files", "error", err)
		}
		r.reload()
	}
}

// follow watches the folders on which the files of the last load depend, and no others. What changed there before
// they were watched nobody told, so that it looks at the files once more, and again at what those name.
func (r *reloader) follow(watcher *fsnotify.Watcher, watched map[string]fs.FileInfo) {
	for range maxLinks { // bounded: somebody may go on turning links
		wanted := map[string]bool{}
		for _, path := range r.paths {
			addFolders(wanted, path)
		}
		if !r.adjust(watcher, watched, wanted) || readAll(r.paths).digest() == r.digest {
			return
		}
		r.reload()
	}
}

// adjust makes watched what is wanted, and reports whether a folder is watched that was not before. A folder may have
// gone, and another may have taken its name.
func (r *reloader) adjust(watcher *fsnotify.Watcher, watched map[string]fs.FileInfo, wanted map[string]bool) (added bool) {
	alive := watcher.WatchList()
	for folder := range wanted {
		now, err := os.Stat(folder)
		if before := watched[folder]; err == nil && before != nil && os.SameFile(before, now) && slices.Contains(alive, folder) {
			continue
		}
		_ = watcher.Remove(folder) // it may not be watched
		delete(watched, folder)
		if err == nil {
			err = watcher.Add(folder)
		}
		if err != nil {
			r.logger.Warn("watching a folder", "folder", folder, "error", err)
			continue // asked for again after the next event or poll
		}
		watched[folder], added = now, true
	}
	for folder := range watched {
		if !wanted[folder] {
			_ = watcher.Remove(folder) // it may be gone already
			delete(watched, folder)
		}
	}
	return added
}

// settle returns when no event has come for the quiet time, or patience is over.
func settle(ctx context.Context, watcher *fsnotify.Watcher) {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		silence := time.NewTimer(quiet)
		select {
		case <-watcher.Events:
			silence.Stop()
		case <-silence.C:
			return
		case <-limit.C:
			silence.Stop()
			return
		case <-ctx.Done():
			silence.Stop()
			return
		}
	}
}
