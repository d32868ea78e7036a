package keys

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/kasbah-authz/kasbah/keys/internal/outbound"
	"github.com/kasbah-authz/kasbah/keys/internal/password"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// challengeBasic says that users and passwords are UTF-8 (RFC 7617, section 2.1).
const challengeBasic = `Basic realm="kasbah", charset="UTF-8"`

const (
	// maxHashings is how many passwords are hashed at one time at the most. One may take 64 MiB.
	maxHashings = 8
	// maxHashingWait is how long a password waits for its turn. Callers of more than that have their deadline before them.
	maxHashingWait = time.Second
	// wrongPasswordAge is how long a wrong password is remembered as such.
	wrongPasswordAge = 5 * time.Second
)

// hashings is how many passwords are hashed at one time: half of the processors do other things.
func hashings() int { return min(max(runtime.GOMAXPROCS(0)/2, 1), maxHashings) }

// basicLocations are those of users and passwords (RFC 7617, section 2).
var basicLocations = locations{{name: authorization, scheme: "basic"}}

// basic accepts users by the hashes of their passwords. It is immutable, but for what is on its way.
type basic struct {
	name      string // of the provider
	file      *password.File
	roles     []string
	users     map[string][]string // roles of those that have more
	store     *Store
	digest    [sha256.Size]byte // of the configuration, not of the file
	questions *flights
}

// basicMethod is the method of users and passwords.
type basicMethod struct{ provider *Provider }

func (*basicMethod) challenge(policy.Reason) string { return challengeBasic }

func (m *basicMethod) authenticate(ctx context.Context, req *policy.Request) (*policy.Principal, *Provider, error) {
	credential, err := m.provider.from.read(req)
	if err != nil {
		return nil, nil, err
	}
	principal, err := m.provider.basic.authenticate(ctx, req.NoWait, credential)
	if err != nil {
		return nil, nil, err
	}
	return principal, m.provider, nil
}

// authenticate returns the principal of a user. The hash is computed where the credential is not remembered; callers with one
// credential share one computation.
func (b *basic) authenticate(ctx context.Context, noWait bool, credential string) (*policy.Principal, error) {
	user, secret, err := password.Split(credential)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	key := b.key(user, credential)
	if principal, ok := b.store.cache.get(key); ok {
		return principal, nil
	}
	if err := b.store.inactive.fault(key); err != nil {
		return nil, err
	}
	if noWait {
		return nil, policy.ErrWouldWait
	}
	return b.questions.join(ctx, b.store, key, func(ctx context.Context) (*policy.Principal, error) {
		return b.verify(ctx, key, user, secret)
	})
}

// key names a credential in the caches, together with the user's line of the file: a change of it forgets this user alone.
func (b *basic) key(user, credential string) cacheKey {
	mark := b.file.Mark(user)
	sum := sha256.New()
	sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(mark))))
	sum.Write([]byte(mark))
	sum.Write([]byte(credential))
	key := cacheKey{provider: b.digest}
	sum.Sum(key.credential[:0])
	return key
}

// verify hashes a password when its turn comes, and remembers what came of it.
func (b *basic) verify(ctx context.Context, key cacheKey, user, secret string) (*policy.Principal, error) {
	turn := time.NewTimer(maxHashingWait)
	defer turn.Stop()
	select {
	case b.store.hashings <- struct{}{}:
		defer func() { <-b.store.hashings }()
	case <-turn.C:
		return nil, &policy.StageError{Reason: policy.Unavailable, Err: errors.New("too many passwords wait to be hashed")}
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting to hash a password: %w", ctx.Err())
	}
	if !b.file.Verify(user, secret) {
		b.store.inactive.add(key, errPassword, wrongPasswordAge)
		return nil, errPassword
	}
	return b.store.cache.verifyOnce(ctx, key, func(now time.Time) (*verified, error) {
		principal := &policy.Principal{ID: user, Provider: b.name, Subject: user, Roles: slices.Clone(b.roles)}
		for _, role := range b.users[user] {
			if !slices.Contains(principal.Roles, role) {
				principal.Roles = append(principal.Roles, role)
			}
		}
		return &verified{principal: principal, validity: validity{expires: now.Add(longestLifetime)}, weight: weigh(principal, len(user))}, nil
	})
}

// basicProvider compiles a provider of users.
func (s *Store) basicProvider(cfg *configv1.Provider, files Files) (*basic, error) {
	message := cfg.GetBasic()
	if len(cfg.GetFrom()) > 0 {
		return nil, &policy.FieldError{Field: "from", Err: errors.New("a password is in the Authorization header alone")}
	}
	b := &basic{name: cfg.GetName(), roles: slices.Clone(message.GetRoles()), users: map[string][]string{}, store: s, questions: newFlights()}
	var err error
	if b.file, err = readPasswords(message.GetHtpasswd().GetFile(), files); err != nil {
		return nil, err
	}
	for i, user := range message.GetUsers() {
		field := fmt.Sprintf("basic.users[%d].name", i)
		switch {
		case !b.file.Has(user.GetName()):
			return nil, &policy.FieldError{Field: field, Err: errors.New("the file has no such user")}
		case b.users[user.GetName()] != nil:
			return nil, &policy.FieldError{Field: field, Err: errors.New("a second entry of this user")}
		}
		b.users[user.GetName()] = append([]string{}, user.GetRoles()...)
	}
	if b.digest, err = digest(cfg, outbound.Settings{}, nil, nil); err != nil {
		return nil, err
	}
	return b, nil
}

// readPasswords reads the file of users. A fault in it is a [*policy.Finding] at its place there.
func readPasswords(path string, files Files) (*password.File, error) {
	const field = "basic.htpasswd.file"
	if files.Read == nil || path == "" {
		return nil, &policy.FieldError{Field: field, Err: errors.New("files are not read here, or none is named")}
	}
	data, err := files.Read(path)
	if err != nil {
		return nil, &policy.FieldError{Field: field, Err: err}
	}
	file, err := password.Read(data)
	var fault *password.Fault
	if errors.As(err, &fault) {
		if files.Resolve != nil {
			path = files.Resolve(path)
		}
		return nil, &policy.Finding{Position: policy.Position{File: path, Line: fault.Line, Column: fault.Column}, Message: fault.Error()}
	}
	return file, err
}
