//go:build !linux

package demo_test

import "syscall"

func childAttributes() *syscall.SysProcAttr { return nil }
