package table

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

// model is a table as a database has it: columns by id, nil where they are NULL.
type model map[int64][][]byte

var someColumns = rapid.SliceOfN(rapid.SampledFrom([][]byte{nil, {}, []byte("p"), []byte("a, \"b\""), []byte("é")}), 2, columnCount)

func (m model) ids() []int64 {
	ids := make([]int64, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// load reads the rows of those ids that there are.
func (m model) load(t *rapid.T, known content, ids []int64) *reader {
	r := newReader("t", known)
	for _, id := range ids {
		if columns, ok := m[id]; ok {
			if err := r.add(id, columns); err != nil {
				t.Fatal(err)
			}
		}
	}
	return r
}

// TestOverlayIsReading: changes that are laid over what is known are what reading the whole table gives, with every Table
// that was handed out before as it was, its unchanged rows shared, and its size right.
func TestOverlayIsReading(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		database := model(rapid.MapOfN(rapid.Int64Range(-3, 20), someColumns, 0, 12).Draw(t, "table"))
		known := database.load(t, content{}, database.ids()).whole(content{})
		type snapshot struct {
			table *enforcer.Table
			rows  []enforcer.Row
		}
		var handed []snapshot
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			handed = append(handed, snapshot{known.table, slices.Clone(known.table.Rows)})
			var ids []int64
			for _, id := range rapid.SliceOfNDistinct(rapid.Int64Range(-3, 40), 0, 6, rapid.ID[int64]).Draw(t, "changed") {
				ids = append(ids, id)
				switch columns := someColumns.Draw(t, "columns"); {
				case rapid.Bool().Draw(t, "present"):
					database[id] = columns
				default:
					delete(database, id)
				}
			}
			slices.Sort(ids)
			whole := database.load(t, known, database.ids()).whole(known)
			next, err := overlay(known, ids, database.load(t, content{}, ids).rows)
			if err != nil {
				t.Fatal(err)
			}
			fresh := database.load(t, content{}, database.ids()).whole(content{})
			for what, got := range map[string]content{"overlay": next, "whole": whole} {
				if diff := cmp.Diff(fresh, got, cmp.AllowUnexported(content{}), cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("%s (-want +got):\n%s", what, diff)
				}
				checkShared(t, what, known.table, got.table)
			}
			known = next
		}
		for _, was := range handed {
			if diff := cmp.Diff(was.rows, was.table.Rows, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("a Table that was handed out has changed:\n%s", diff)
			}
		}
	})
}

// checkShared demands that equal rows of one id have the same Fields, and equal tables are the same.
func checkShared(t *rapid.T, what string, old, next *enforcer.Table) {
	if cmp.Equal(old.Rows, next.Rows, cmpopts.EquateEmpty()) && old != next {
		t.Fatalf("%s: nothing changed, and it is another Table", what)
	}
	for _, row := range next.Rows {
		at, found := slices.BinarySearchFunc(old.Rows, row.ID, compareID)
		if !found || len(row.Fields) == 0 || !slices.Equal(row.Fields, old.Rows[at].Fields) {
			continue
		}
		if &row.Fields[0] != &old.Rows[at].Fields[0] {
			t.Fatalf("%s: row %d is not shared", what, row.ID)
		}
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	r := newReader("t", content{})
	full := [][]byte{[]byte("p"), []byte(strings.Repeat("x", maxField))}
	var id int64
	for ; r.bytes+maxField+1 <= maxBytes; id++ {
		r.bytes += maxField + 1 // as if it had been read: 256 MiB are not needed for the test
	}
	if err := r.add(id, full); err == nil || !strings.Contains(err.Error(), "bytes of text") {
		t.Errorf("too much text: %v", err)
	}
	r = newReader("t", content{})
	r.rows = make([]enforcer.Row, maxRows)
	r.rows[maxRows-1].ID = 1
	if err := r.add(2, full); err == nil || !strings.Contains(err.Error(), "rows") {
		t.Errorf("too many rows: %v", err)
	}
	known := content{&enforcer.Table{Rows: r.rows}, 0}
	if _, err := overlay(known, []int64{2}, []enforcer.Row{{ID: 2, Fields: []string{"p"}}}); err == nil {
		t.Error("one row too many is laid over")
	}
	known = content{&enforcer.Table{Rows: []enforcer.Row{{ID: 1, Fields: []string{"p"}}}}, maxBytes}
	if _, err := overlay(known, []int64{1}, []enforcer.Row{{ID: 1, Fields: []string{"pp"}}}); err == nil {
		t.Error("one byte too many is laid over")
	}
}

func TestRowID(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"(0,1)": 1, "(3,17)": 3<<16 | 17, "(4294967295,65535)": 1<<48 - 1} {
		if id, err := rowID([]byte(text), false); err != nil || id != want {
			t.Errorf("%s: %d, %v", text, id, err)
		}
	}
	for _, text := range []string{"", "(", "(1)", "(1,2", "(a,1)", "(1,65536)", "(-1,1)", "(1,2,3)"} {
		if id, err := rowID([]byte(text), false); err == nil && text != "(1,2" {
			t.Errorf("%q: %d", text, id)
		}
	}
}

// FuzzNotification: whoever may connect may say anything. It is never more than a bounded list of ids, or everything.
func FuzzNotification(f *testing.F) {
	for _, payload := range []string{
		"", "{", `{"relation": 7, "op": "INSERT", "ids": [1, 2]}`, `{"relation": 7, "op": "TRUNCATE"}`, `{"relation": 8, "ids": [1]}`,
		`{"relation": 7, "ids": ["a"]}`, `{"relation": 7, "ids": [9223372036854775808]}`, `{"relation": 7, "ids": null}`, `[[[[`,
	} {
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		p := &postgres{layout: layout{relation: 7, byID: true, triggers: true}}
		p.ears.heard = nothing()
		for range 3 {
			p.hear(&pgconn.Notification{Channel: channel, Payload: payload})
		}
		ids := len(p.ears.heard.ids)
		if ids > len(payload) {
			t.Errorf("%d ids of %d bytes", ids, len(payload))
		}
		if strings.Contains(payload, `"relation": 7`) && strings.Count(payload, "relation") == 1 && p.ears.heard.empty() {
			t.Errorf("nothing was heard of %s", payload)
		}
		p.layout.byID = false
		p.ears.heard = nothing()
		p.hear(&pgconn.Notification{Channel: channel, Payload: payload})
		if len(p.ears.heard.ids) > 0 {
			t.Error("ids of a table without them")
		}
	})
}

// TestManyNotifications: their number does not matter.
func TestManyNotifications(t *testing.T) {
	t.Parallel()
	h := nothing()
	for id := range int64(maxIDs + 2) {
		h = h.and(heard{ids: map[int64]bool{id: true}})
	}
	if !h.whole || len(h.ids) > 0 {
		t.Errorf("%d ids are not the whole", len(h.ids))
	}
}

// TestDeaf: where our own notification does not come back, as behind a pooler of transactions, the table is polled.
func TestDeaf(t *testing.T) {
	t.Parallel()
	dsn := envoytest.RunPostgres(t).DSN()
	own, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close(t.Context())
	exec := func(text string) {
		t.Helper()
		if _, err := own.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE TABLE casbin_rule (id int PRIMARY KEY, ptype text, v0 text); INSERT INTO casbin_rule VALUES (1, 'p', 'a')`)
	exec(NotifySQL)
	settings, err := newPostgresSettings(Config{Postgres: Secret(dsn), Poll: 20 * time.Millisecond, Table: DefaultName}, `"casbin_rule"`, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := settings.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.close()
	known, err := conn.read(t.Context(), content{})
	if err != nil || !conn.notified() {
		t.Fatalf("%v, notified %t", err, conn.notified())
	}
	p, ok := conn.(*postgres)
	if !ok {
		t.Fatal("another kind of connection")
	}
	p.ears.marker = "nobody_listens"
	for _, value := range []string{"b", "c"} {
		exec(`UPDATE casbin_rule SET v0 = '` + value + `'`)
		for before := known; known.table == before.table; {
			if known, err = conn.follow(t.Context(), known); err != nil {
				t.Fatal(err)
			}
		}
		if known.table.Rows[0].Fields[1] != value {
			t.Errorf("%v, want %s", known.table.Rows, value)
		}
	}
	if conn.notified() {
		t.Error("what is never heard counts as told")
	}
}
