package keystore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// redisDial bounds how long a connection to Redis may take to be made, with TLS and the password; redisAnswer one
	// question on it, and the wait for a connection that is free.
	redisDial   = 2 * time.Second
	redisAnswer = 2 * time.Second
)

// DefaultPrefix is what the names of keys in Redis begin with where nothing else is said.
const DefaultPrefix = "kasbah:"

// Redis says which server is meant, and which part of it. Two that are equal mean the same. It prints as what Source returns.
type Redis struct {
	// URL is redis://user:password@host:port/database, or rediss:// for TLS.
	URL string
	// Prefix is what the name of every key begins with.
	Prefix string
}

// Source names the server, the database and the prefix without anything secret.
func (r Redis) Source() string {
	parsed, err := url.Parse(r.URL)
	if err != nil {
		return "redis:"
	}
	return (&url.URL{Scheme: parsed.Scheme, Host: parsed.Host, Path: parsed.Path}).String() + " " + r.Prefix
}

// String is Source.
func (r Redis) String() string { return r.Source() }

// GoString is Source.
func (r Redis) GoString() string { return r.Source() }

// Check says what is wrong with the settings, without asking a server.
func (r Redis) Check() error {
	_, err := r.options(1)
	return err
}

var errRedisURL = errors.New("the address of Redis cannot be read; it looks like redis://user:password@host:6379/0, or rediss:// for TLS, and what is no letter or digit in the password is written as %xx")

// options are those of a client with that many connections. The errors of what reads the address quote it, and there the
// password is.
func (r Redis) options(connections int) (*redis.Options, error) {
	parsed, err := url.Parse(r.URL)
	if err != nil || parsed.Scheme != "redis" && parsed.Scheme != "rediss" || parsed.Hostname() == "" || parsed.RawQuery != "" || parsed.Fragment != "" {
		return nil, errRedisURL
	}
	options, err := redis.ParseURL(r.URL)
	if err != nil {
		return nil, errRedisURL
	}
	options.Protocol = 2 // nothing is pushed to us that we did not ask for
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout, options.PoolTimeout = redisDial, redisAnswer, redisAnswer, redisAnswer
	options.ContextTimeoutEnabled = true
	options.MaxRetries = -1 // what was asked twice may have been done twice, and who asks knows when to ask again
	options.DialerRetries = 1
	options.PoolSize, options.MaxActiveConns, options.PipelinePoolSize = connections, connections, -1
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return options, nil
}

// client returns a client with at most that many connections. It connects when it is first used.
func (r Redis) client(connections int) (*redis.Client, error) {
	options, err := r.options(connections)
	if err != nil {
		return nil, err
	}
	return newRedis(options), nil
}

func newRedis(options *redis.Options) *redis.Client {
	logging.Disable() // it would write to standard error, which is our log; all that it has to say are errors, too
	return redis.NewClient(options)
}

// Ping asks the server whether it is there and knows us.
func (r Redis) Ping(ctx context.Context) error {
	client, err := r.client(1)
	if err != nil {
		return err
	}
	defer client.Close()
	return r.scrub(client.Ping(ctx).Err())
}

// scrub returns the error as one line of bounded length, without the password. nil stays nil.
func (r Redis) scrub(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if parsed, fault := url.Parse(r.URL); fault == nil {
		password, _ := parsed.User.Password()
		text = redact(text, password)
	}
	return fmt.Errorf("%s: %s", r.Source(), oneLine(text))
}

// newEpoch returns a text that no other store has.
func newEpoch() string { return rand.Text() }

// redact returns a text without a password that is in it.
func redact(text, password string) string {
	for _, secret := range []string{password, url.QueryEscape(password), url.PathEscape(password)} {
		if len(secret) > 3 { // a shorter one stands in any text
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	return text
}

// oneLine returns what a server said as one line of at most maxReason characters.
func oneLine(text string) string {
	text = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(text, "?"))
	return fmt.Sprintf("%.*s", maxReason, strings.Join(strings.Fields(text), " "))
}
