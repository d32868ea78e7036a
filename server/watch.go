package server

import (
	"context"
	"fmt"
	"path/filepath"
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

// watch reloads when a file changes that the last load asked for, and on every signal of requests, until ctx ends.
//
// Folders are watched rather than files, because an editor's rename and Kubernetes' swap of the link "..data" change
// which file a name means. Where a name is a link, the folder of the file behind it is watched as well.
func (r *reloader) watch(ctx context.Context, requests <-chan struct{}) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching files: %w", err)
	}
	defer watcher.Close()
	watched := map[string]bool{}
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		r.follow(watcher, watched)
		select {
		case <-ctx.Done():
			return nil
		case <-requests:
		case <-poll.C:
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

// follow watches the folders of the files that the last load asked for, and no others.
func (r *reloader) follow(watcher *fsnotify.Watcher, watched map[string]bool) {
	wanted := map[string]bool{}
	for _, path := range r.paths {
		wanted[filepath.Dir(path)] = true
		if target, err := filepath.EvalSymlinks(path); err == nil {
			wanted[filepath.Dir(target)] = true
		}
	}
	for folder := range wanted {
		if watched[folder] {
			continue
		}
		if err := watcher.Add(folder); err != nil {
			r.logger.Warn("watching a folder", "folder", folder, "error", err)
			continue // asked for again after the next event or poll
		}
		watched[folder] = true
	}
	for folder := range watched {
		if !wanted[folder] {
			_ = watcher.Remove(folder) // it may be gone already
			delete(watched, folder)
		}
	}
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
