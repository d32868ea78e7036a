package server

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is how many links are followed on the way to one file, as many as Linux follows.
const maxLinks = 40

// addFolders adds the folders in which a change can give the path another meaning: the one that holds the file, and
// those that hold a link on the way to it, or the first name on the way that does not exist. None of the folders
// has a link in its own path, so that no two of them are one.
func addFolders(folders map[string]bool, path string) {
	path, err := filepath.Abs(path)
	if err != nil {
		return // the working directory is gone, and with it every relative path
	}
	for range maxLinks {
		folder, link, rest := firstLink(path)
		folders[folder] = true
		if link == "" {
			return
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(folder, link)
		}
		path = filepath.Join(link, rest)
	}
}

// firstLink walks down an absolute path. It returns the folder in which it met a link, where that leads, and the rest of
// the path; without a link, the folder that holds the file or the first name that does not exist.
func firstLink(path string) (folder, link, rest string) {
	folder = filepath.VolumeName(path) + string(filepath.Separator)
	rest = strings.TrimPrefix(path, folder)
	for {
		name, tail, more := strings.Cut(rest, string(filepath.Separator))
		next := filepath.Join(folder, name)
		info, err := os.Lstat(next)
		if err != nil {
			return folder, "", ""
		}
		if info.Mode().Type() == fs.ModeSymlink {
			if link, err = os.Readlink(next); err != nil {
				return folder, "", "" // it has just gone
			}
			return folder, link, tail
		}
		if !more {
			return folder, "", ""
		}
		folder, rest = next, tail
	}
}
