package envoytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// How long a program may take to end when it is asked to, before it is killed.
const stopTimeout = 5 * time.Second

// The last bytes of a program's output that are kept for errors.
const maxTail = 32 << 10

// errEnded is in the error of a program that ended without being asked to.
var errEnded = errors.New("it ended by itself")

// A child is a running program.
type child struct {
	name    string
	command *exec.Cmd
	end     syscall.Signal // what asks it to end
	output  *tail
	done    chan struct{} // closed when it has ended
	err     error         // how it ended; read after done

	stop     sync.Once
	stopping chan struct{} // closed when its end is wanted
}

// spawn starts the command. The caller has set all of it but its output and attributes.
func spawn(command *exec.Cmd, end syscall.Signal, stdout, stderr io.Writer) (*child, error) {
	c := &child{
		name: filepath.Base(command.Path), command: command, end: end, output: &tail{},
		done: make(chan struct{}), stopping: make(chan struct{}),
	}
	command.Stdout, command.Stderr = c.output.tee(stdout), c.output.tee(stderr)
	command.WaitDelay = stopTimeout // for a grandchild that holds the pipes
	started := make(chan error)
	go func() {
		// On Linux a child dies with the thread that started it, so the thread has to live as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err != nil {
			return
		}
		err = command.Wait()
		endGroup(command.Process)
		select {
		case <-c.stopping:
		default:
			c.err = fmt.Errorf("running %s: %w: %w", c.name, errEnded, errors.Join(errors.New(command.ProcessState.String()), c.output.lines(), ignoreExit(err)))
		}
		close(c.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", command.Path, err)
	}
	return c, nil
}

// ignoreExit leaves out what the process state says already.
func ignoreExit(err error) error {
	if _, exited := errors.AsType[*exec.ExitError](err); exited {
		return nil
	}
	return err
}

// Stop ends the program, and returns when it has ended. Stopping it again does nothing.
func (c *child) Stop() {
	c.stop.Do(func() {
		close(c.stopping)
		if c.command.Process.Signal(c.end) == nil {
			select {
			case <-c.done:
				return
			case <-time.After(stopTimeout):
			}
		}
		endGroup(c.command.Process)
	})
	<-c.done
}

// Done is closed when the program has ended, by itself or by Stop.
func (c *child) Done() <-chan struct{} { return c.done }

// Err says how the program ended by itself. It is nil while it runs, and if Stop ended it.
func (c *child) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Output returns the last of what the program has written, at most 32 KiB.
func (c *child) Output() string { return c.output.String() }

// await asks until the answer is yes, an error, or the context or the program ends.
func (c *child) await(ctx context.Context, what string, ask func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := await(ctx, 10*time.Millisecond, func() (bool, error) {
		select {
		case <-c.done:
			return false, cmpOr(c.err, errors.New("it was stopped"))
		default:
			return ask(ctx)
		}
	})
	if err != nil && c.Err() == nil {
		return fmt.Errorf("waiting until %s %s: %w", c.name, what, errors.Join(err, c.output.lines()))
	}
	return err
}

func cmpOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// await asks at that interval until the answer is yes, an error, or the context ends.
func await(ctx context.Context, interval time.Duration, ask func() (bool, error)) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if yes, err := ask(); yes || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// tail keeps the last bytes that were written to it.
type tail struct {
	mu   sync.Mutex
	data []byte
}

// tee returns a writer to the tail and to another writer, which may be nil and is written to by one goroutine at a time.
func (t *tail) tee(to io.Writer) io.Writer { return &tee{t, to} }

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.data)
}

// lines is the tail as an error, nil where nothing was written.
func (t *tail) lines() error {
	text := bytes.TrimSpace([]byte(t.String()))
	if len(text) == 0 {
		return nil
	}
	return fmt.Errorf("its output ends with:\n%s", text)
}

type tee struct {
	tail *tail
	to   io.Writer
}

// Write never fails: a full disk behind the other writer does not end the program.
func (t *tee) Write(p []byte) (int, error) {
	t.tail.mu.Lock()
	defer t.tail.mu.Unlock()
	t.tail.data = append(t.tail.data, p...)
	if extra := len(t.tail.data) - maxTail; extra > 0 {
		t.tail.data = append(t.tail.data[:0], t.tail.data[extra:]...)
	}
	if t.to != nil {
		_, _ = t.to.Write(p)
	}
	return len(p), nil
}

// lastLine is the last line of a program's output, for an error.
func lastLine(out []byte) string {
	out = bytes.TrimSpace(out)
	if len(out) > 500 {
		out = out[len(out)-500:]
	}
	return string(out[bytes.LastIndexByte(out, '\n')+1:])
}
