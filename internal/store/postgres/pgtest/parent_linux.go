package pgtest

import "syscall"

// dieWithParent has a server end when this process does, however it does.
func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGQUIT }
