package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystore"
	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/proto/config"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// revocationPatience is the longest pause after a store of revocations could not be read.
const revocationPatience = time.Second

// RevocationsAt is where revocations are: in a file, or in a store. It is comparable.
type RevocationsAt struct {
	File  string // empty: Store has them
	Store keystore.RevocationsAt
}

// revocations returns what follows the store of withdrawn credentials. No store is asked, but a file is read that is not followed
// yet: at a start it must be good. From then on it is followed apart from the configuration, so that neither holds up the other.
func (c *compiler) revocations(message *configv1.RevocationStore) *keys.Revocations {
	if message == nil {
		return nil
	}
	at, err := c.revocationsAt(message)
	if err != nil {
		c.fault("revocations", err)
		return nil
	}
	source := keys.RevocationSource{ID: at, Name: at.Store.Source(), Patience: revocationPatience}
	source.Open = func(ctx context.Context) (keys.RevocationReader, error) {
		return keystore.FollowRevocations(ctx, at.Store)
	}
	finding := func(err error) *policy.Finding { return c.document.Finding("revocations", err) }
	if at.File != "" {
		source.Name, source.Patience = "file:"+at.File, 0
		cuts := new(atomic.Int64)
		source.Open = func(context.Context) (keys.RevocationReader, error) {
			return &revocationFile{path: at.File, cuts: cuts}, nil
		}
		if !c.store.FollowsRevocations(at) {
			file, findings := readRevocations(at.File)
			if file == nil {
				c.findings = append(c.findings, findings...)
				return nil
			}
			source.Read, finding = file.Revocations(), func(err error) *policy.Finding { return file.Finding("", err) }
		}
	}
	revoked, err := c.store.FollowRevocations(message, source)
	if err != nil {
		c.findings = append(c.findings, finding(err))
	}
	return revoked
}

// revocationsAt returns where revocations are.
func (c *compiler) revocationsAt(message *configv1.RevocationStore) (RevocationsAt, error) {
	var at RevocationsAt
	switch from := message.GetSource().(type) {
	case *configv1.RevocationStore_File:
		path, err := filepath.Abs(c.files.resolve(from.File))
		return RevocationsAt{File: path}, err
	case *configv1.RevocationStore_Redis:
		url, err := c.secret(from.Redis.GetUrl())
		if err != nil {
			return at, &policy.FieldError{Field: "redis.url", Err: err}
		}
		at.Store.Redis = keystore.Redis{URL: string(url), Prefix: from.Redis.GetPrefix()}
	case *configv1.RevocationStore_Postgres:
		url, err := c.secret(from.Postgres.GetUrl())
		if err != nil {
			return at, &policy.FieldError{Field: "postgres.url", Err: err}
		}
		at.Store.Postgres = keystore.Config{Postgres: string(url), Table: from.Postgres.GetTable()}
	}
	return at, at.Store.Check()
}

// FindRevocations returns where the configuration says that revocations are. Of the Config it needs Path, and LookupEnv as a
// Server does.
func FindRevocations(cfg Config) (RevocationsAt, error) {
	c, findings := newCompiler(cfg.Path, inputs{files: newFiles(), env: cfg.LookupEnv})
	if c == nil {
		return RevocationsAt{}, findings
	}
	message := c.document.Config().GetRevocations()
	if message == nil {
		return RevocationsAt{}, errors.New(cfg.Path + " has no revocations")
	}
	at, err := c.revocationsAt(message)
	if err != nil {
		return RevocationsAt{}, c.document.Finding("revocations", err)
	}
	return at, nil
}

// readRevocations reads a file of revocations.
func readRevocations(path string) (*config.RevocationFile, policy.Findings) {
	data, err := readFile(path)
	if err != nil {
		return nil, policy.Findings{{Position: policy.Position{File: path}, Message: err.Error()}}
	}
	return config.LoadRevocations(path, data)
}

// unsettled is how old a change of a file must be for its time to tell it from the next one, on every file system.
const unsettled = 2 * time.Second

// revocationFile follows a file of revocations, each time whole.
type revocationFile struct {
	path string
	cuts *atomic.Int64 // counts what was read, over all readers of the file: what it no longer has was taken out of it
	info fs.FileInfo
	sum  [sha256.Size]byte
	read keys.RevocationState
}

// Close implements [keys.RevocationReader].
func (*revocationFile) Close() {}

// Read implements [keys.RevocationReader].
func (f *revocationFile) Read(ctx context.Context, since keys.RevocationState, row func(keys.Revocation, error)) (keys.RevocationState, bool, error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return since, false, err
	}
	known := since == f.read && f.info != nil
	if known && sameFile(info, f.info) && !f.recent() {
		return since, false, nil
	}
	if !known || !sameFile(info, f.info) {
		if info, err = f.settle(ctx, info); err != nil {
			return since, false, err
		}
	}
	data, err := readFile(f.path)
	if err != nil {
		return since, false, err
	}
	sum := sha256.Sum256(data)
	if known && sum == f.sum {
		f.info = info
		return since, false, nil
	}
	file, findings := config.LoadRevocations(f.path, data)
	if file == nil {
		return since, false, findings
	}
	records, err := keys.RevocationsOf(file.Revocations())
	if err != nil {
		return since, false, file.Finding("", err)
	}
	for _, record := range records {
		row(record, nil)
	}
	f.info, f.sum, f.read = info, sum, keys.RevocationState{Epoch: f.path, Cut: f.cuts.Add(1)}
	return f.read, true, nil
}

// recent reports whether the file changed so lately that another change may have the same time.
func (f *revocationFile) recent() bool {
	at, err := os.Stat(f.path)
	return err != nil || !sameFile(at, f.info) || time.Since(f.info.ModTime()) < unsettled
}

func sameFile(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// settle returns when the file has been left alone for the quiet time, or patience is over: who writes in place is not
// to be read half-way.
func (f *revocationFile) settle(ctx context.Context, info fs.FileInfo) (fs.FileInfo, error) {
	for waited := time.Duration(0); waited < patience; waited += quiet {
		timer := time.NewTimer(quiet)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
		now, err := os.Stat(f.path)
		if err != nil {
			return nil, err
		}
		if sameFile(now, info) {
			break
		}
		info = now
	}
	return info, nil
}
