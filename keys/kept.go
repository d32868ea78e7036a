package keys

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/kasbah-authz/kasbah/keys/internal/shelf"
)

const (
	// maxKept is how many key sets are kept, and maxKeptSize the longest text of one: a key set and its escapes.
	maxKept     = 1024
	maxKeptSize = 2*maxKeySet + 4096
	// maxAhead is how far a record may be ahead of the clock, when another machine's was.
	maxAhead = 5 * time.Minute
)

// keptSets are the last good key sets where they outlive the process. Only compiling and the loops of the sets use it, because
// it reads and writes files.
type keptSets struct {
	shelf    *shelf.Shelf
	folder   string
	maxAge   time.Duration
	logger   *slog.Logger
	reads    atomic.Uint64 // that failed
	writes   atomic.Uint64 // that failed
	rewrites time.Duration // a set that did not change is written again after this time
}

// newKeptSets returns nil where nothing is kept.
func newKeptSets(options KeySetOptions, logger *slog.Logger) *keptSets {
	if options.Folder == "" {
		return nil
	}
	return &keptSets{
		shelf: shelf.New(options.Folder, maxKept, maxKeptSize, options.MaxAge), folder: options.Folder, maxAge: options.MaxAge, logger: logger,
		rewrites: options.MaxAge / 100,
	}
}

// id names a source and the way to it, and nothing else: its parts stand behind their lengths.
func (s source) id() string {
	hash := sha256.New()
	for _, part := range []string{s.url, s.issuer, s.reach.Authorities, s.reach.Proxy, fmt.Sprint(s.reach.PrivateAddresses)} {
		hash.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		hash.Write([]byte(part))
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// record is the text of a file. The source is there for people to read, without what may be secret in it; the id is what counts.
type record struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`
	Source  string    `json:"source"`
	Fetched time.Time `json:"fetched"`
	KeySet  string    `json:"key_set"`
}

// save keeps a set that was fetched at that time. It reports whether that succeeded.
func (k *keptSets) save(ctx context.Context, from source, set *keySet, fetched time.Time) bool {
	text, err := json.Marshal(record{1, from.id(), from.String(), fetched.UTC(), string(set.document)})
	if err == nil {
		err = k.shelf.Write(from.id(), text, fetched)
	}
	if err != nil {
		k.writes.Add(1)
		k.logger.WarnContext(ctx, "a key set could not be kept; a start while its issuer is down will be without it",
			"source", from.String(), "folder", k.folder, "err", err)
	}
	return err == nil
}

// load returns the set of that source that was last kept and when it was fetched, nil where there is none that counts.
func (k *keptSets) load(from source, now time.Time) (*keySet, time.Time) {
	if k == nil {
		return nil, time.Time{}
	}
	text, err := k.shelf.Read(from.id())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, time.Time{}
	}
	var set *keySet
	var fetched time.Time
	if err == nil {
		set, fetched, err = readRecord(text, from.id())
	}
	switch {
	case err != nil:
	case fetched.Sub(now) > maxAhead:
		err = errors.New("it was fetched later than now")
	case now.Sub(fetched) >= k.maxAge:
		err = fmt.Errorf("it was fetched %v ago, and max_age is %v", now.Sub(fetched).Round(time.Second), k.maxAge)
	default:
		k.logger.Info("a key set that was kept is in force until it is fetched", "source", from.String(), "keys", len(set.keys), "fetched", fetched)
		return set, fetched
	}
	k.reads.Add(1)
	k.logger.Warn("a key set that was kept is not used", "source", from.String(), "file", filepath.Join(k.folder, from.id()+".json"), "err", err)
	return nil, time.Time{}
}

// readRecord reads the text of a file that is to be of that source. It may be anyone's text.
func readRecord(text []byte, id string) (*keySet, time.Time, error) {
	object, err := decodeObject(string(text), 2)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("no record of a key set: %w", err)
	}
	if version, _ := object["version"].(float64); version != 1 {
		return nil, time.Time{}, errors.New("no record of a key set of version 1")
	}
	if of, _ := object["id"].(string); of != id {
		return nil, time.Time{}, errors.New("it is the record of another source")
	}
	at, _ := object["fetched"].(string)
	fetched, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return nil, time.Time{}, errors.New("no record of when a key set was fetched")
	}
	document, _ := object["key_set"].(string)
	set, err := parseKeySet([]byte(document))
	if err != nil {
		return nil, time.Time{}, err
	}
	return set, fetched, nil
}
