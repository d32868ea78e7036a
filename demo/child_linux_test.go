package demo_test

import "syscall"

// childAttributes make a child die with the test, also where the test is killed.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
