package envoytest

import "syscall"

// attributes are those of a child process: a process group of its own, which Stop ends whole, and a death with
// the thread that started it. With unprivileged it runs as nobody, for PostgreSQL refuses to run as root.
func attributes(unprivileged bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if unprivileged {
		a.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return a
}
