package keystore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/internal/revoked"
)

// redisRevocations is a store of revocations in Redis. It has four keys, which one Redis Cluster keeps in one place:
//
//	version   a hash: the epoch, the last change, the last cut, and how many names there are
//	names     a hash: what is withdrawn of each name
//	changes   a sorted set: the change that each name was last written with
//	ends      a sorted set: when what is withdrawn of a name is over, in Unix seconds, of the names that end
//
// Scripts change them together. An eviction that takes one of them shows in the count, and a flush in the version, without which the
// store is not there: nobody takes an empty Redis for one in which nothing is withdrawn.
type redisRevocations struct {
	client                        *redis.Client
	version, names, changes, ends string

	connects atomic.Int64 // that the client has made, by itself too
	seen     int64        // at the last read
}

func openRedisRevocations(at Redis) (*redisRevocations, error) {
	options, err := at.options(1)
	if err != nil {
		return nil, err
	}
	name := func(part string) string { return at.Prefix + "{revoked}:" + part }
	r := &redisRevocations{version: name("version"), names: name("names"), changes: name("changes"), ends: name("ends")}
	options.OnConnect = func(context.Context, *redis.Conn) error {
		r.connects.Add(1)
		return nil
	}
	r.client = newRedis(options)
	return r, nil
}

// Close implements [keys.RevocationReader].
func (r *redisRevocations) Close() { _ = r.client.Close() } // what was written was answered

// redisInit makes the version, and drops what there may be without one: KEYS as above, ARGV the epoch.
var redisInit = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'change', 0, 'cut', 0, 'count', 0)
return 1
`)

func (r *redisRevocations) keys() []string { return []string{r.version, r.names, r.changes, r.ends} }

func (r *redisRevocations) init(ctx context.Context) error {
	made, err := redisInit.Run(ctx, r.client, r.keys(), newEpoch()).Int()
	if err == nil && made == 0 {
		return errMadeYet
	}
	return err
}

// redisChange writes the windows of a name: ARGV the name, what they were, what they are (empty: the name goes), when they end, before
// when what has ended goes, how many of those go at once, and how many names there may be. It answers 1, 0 where they were something else, -1
// where there is no store, and -2 where it is full.
var redisChange = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
local before = redis.call('HGET', KEYS[2], ARGV[1]) or ''
if before ~= ARGV[2] then return 0 end
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', ARGV[5], 'LIMIT', 0, ARGV[6])) do
  redis.call('HDEL', KEYS[2], name)
  redis.call('ZREM', KEYS[3], name)
  redis.call('ZREM', KEYS[4], name)
end
if before == '' and ARGV[3] ~= '' and redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[7]) then
  redis.call('HSET', KEYS[1], 'count', redis.call('HLEN', KEYS[2]))
  return -2
end
if ARGV[3] == '' then
  if before ~= '' then
    redis.call('HINCRBY', KEYS[1], 'cut', 1)
    redis.call('HDEL', KEYS[2], ARGV[1])
    redis.call('ZREM', KEYS[3], ARGV[1])
    redis.call('ZREM', KEYS[4], ARGV[1])
  end
else
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
  redis.call('ZADD', KEYS[3], redis.call('HINCRBY', KEYS[1], 'change', 1), ARGV[1])
  if ARGV[4] == '' then
    redis.call('ZREM', KEYS[4], ARGV[1])
  else
    redis.call('ZADD', KEYS[4], ARGV[4], ARGV[1])
  end
end
redis.call('HSET', KEYS[1], 'count', redis.call('HLEN', KEYS[2]))
return 1
`)

func (r *redisRevocations) change(ctx context.Context, name keys.RevocationName, now time.Time, change func([]keys.RevocationWindow) []keys.RevocationWindow) error {
	id := revoked.FormatName(name)
	for range changeTries {
		before, err := r.client.HGet(ctx, r.names, id).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		var windows []keys.RevocationWindow
		if before != "" {
			windows, _ = revoked.ParseWindows(before) // what cannot be read withdraws everything, and goes on doing so
		}
		windows = change(windows)
		after, end := "", ""
		if len(windows) > 0 {
			after = revoked.FormatWindows(windows)
			if at := revoked.End(windows); !at.IsZero() {
				end = strconv.FormatInt(at.Unix()+1, 10)
			}
		}
		if after == before {
			return r.check(ctx)
		}
		done, err := redisChange.Run(ctx, r.client, r.keys(), id, before, after, end, now.Add(-pruneBehind).Unix(), pruneAtOnce, revoked.MaxNames).Int()
		switch {
		case err != nil:
			return err
		case done == -1:
			return errNotMade
		case done == -2:
			return errFull
		case done == 1:
			return nil
		}
	}
	return errContends
}

// check reports whether the store is there and whole.
func (r *redisRevocations) check(ctx context.Context) error {
	_, _, err := r.state(ctx)
	return err
}

// state asks how far the store is: one question.
func (r *redisRevocations) state(ctx context.Context) (state keys.RevocationState, count int64, err error) {
	var version *redis.SliceCmd
	var names, changes *redis.IntCmd
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	_, err = r.client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		version = pipe.HMGet(ctx, r.version, "epoch", "change", "cut", "count")
		names, changes = pipe.HLen(ctx, r.names), pipe.ZCard(ctx, r.changes)
		return nil
	})
	if err != nil {
		return state, 0, err
	}
	values := version.Val()
	if len(values) != 4 || values[0] == nil {
		return state, 0, errNotMade
	}
	numbers := [3]int64{}
	for i := range numbers {
		text, _ := values[i+1].(string)
		if numbers[i], err = strconv.ParseInt(text, 10, 64); err != nil {
			return state, 0, errors.New("its version cannot be read")
		}
	}
	state.Epoch, _ = values[0].(string)
	state.Change, state.Cut, count = numbers[0], numbers[1], numbers[2]
	if names.Val() != count || changes.Val() != count {
		return state, 0, fmt.Errorf("%d names are withdrawn, and %d of them are left: Redis lost the others, or somebody removed them by hand; its maxmemory-policy must be noeviction", count, min(names.Val(), changes.Val()))
	}
	return state, count, nil
}

const redisAtOnce = 1000 // names that one question reads

// Read implements [keys.RevocationReader].
func (r *redisRevocations) Read(ctx context.Context, since keys.RevocationState, row func(keys.Revocation, error)) (now keys.RevocationState, whole bool, err error) {
	now, count, err := r.state(ctx)
	connects := r.connects.Load()
	again := connects != r.seen // another server may answer, which has counted to the same numbers otherwise
	if err != nil || now == since && !again {
		return now, false, err
	}
	if count > revoked.MaxNames {
		return now, false, fmt.Errorf("there are more than %d names", revoked.MaxNames)
	}
	whole = again || now.Epoch != since.Epoch || now.Change < since.Change || now.Cut != since.Cut
	if whole {
		err = r.readAll(ctx, row)
	} else {
		err = r.readSince(ctx, since.Change, row)
	}
	if err != nil {
		return now, whole, err
	}
	// What was read in several questions is of one store only if that is still the same one.
	after, _, err := r.state(ctx)
	if err == nil && (after.Epoch != now.Epoch || after.Change < now.Change || r.connects.Load() != connects) {
		err = errors.New("another server took its place while it was read")
	}
	r.seen = connects
	return now, whole, err
}

func (r *redisRevocations) readAll(ctx context.Context, row func(keys.Revocation, error)) error {
	var cursor uint64
	for {
		page, next, err := r.client.HScan(ctx, r.names, cursor, "", redisAtOnce).Result()
		if err != nil {
			return err
		}
		for i := 0; i+1 < len(page); i += 2 {
			if err := giveRevocation(page[i], page[i+1], row); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

func (r *redisRevocations) readSince(ctx context.Context, change int64, row func(keys.Revocation, error)) error {
	ids, err := r.client.ZRangeArgs(ctx, redis.ZRangeArgs{Key: r.changes, Start: "(" + strconv.FormatInt(change, 10), Stop: "+inf", ByScore: true}).Result()
	if err != nil {
		return err
	}
	for len(ids) > 0 {
		some := ids[:min(len(ids), redisAtOnce)]
		ids = ids[len(some):]
		values, err := r.client.HMGet(ctx, r.names, some...).Result()
		if err != nil {
			return err
		}
		for i, value := range values {
			if text, ok := value.(string); ok { // else it has gone since, which the next cut says
				if err := giveRevocation(some[i], text, row); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// giveRevocation gives what a store has of a name to row. A name that cannot be read is an error: nobody knows whom it is about.
func giveRevocation(id, windows string, row func(keys.Revocation, error)) error {
	name, err := revoked.ParseName(id)
	if err != nil {
		return fmt.Errorf("a name cannot be read: %w", err)
	}
	parsed, fault := revoked.ParseWindows(windows)
	row(keys.Revocation{Name: name, Windows: parsed}, fault)
	return nil
}
