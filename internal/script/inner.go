package script

import (
	"errors"
	"reflect"
	"sync/atomic"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/libquickjs"
	"modernc.org/quickjs"
)

// inner is what lies behind a quickjs.VM. Two things that a machine needs are
// not among its methods: to run one job at a time, and to be asked about an
// interrupt soon. The engine asks every ten thousandth call only, which is a
// long time when each call searches megabytes. The fields are read by
// reflection; a test fails when a new version of the engine has others.
type inner struct {
	tls     *libc.TLS
	runtime uintptr // *lib.TJSRuntime
	context uintptr // *lib.TJSContext
}

func innerOf(js *quickjs.VM) (inner, error) {
	v := reflect.ValueOf(js).Elem()
	context, rt := v.FieldByName("cContext"), v.FieldByName("runtime")
	if !context.IsValid() || context.Kind() != reflect.Uintptr || !rt.IsValid() || rt.Kind() != reflect.Pointer {
		return inner{}, errors.New("this version of the JavaScript engine keeps its state elsewhere")
	}
	c, tls := rt.Elem().FieldByName("cRuntime"), rt.Elem().FieldByName("tls")
	if !c.IsValid() || c.Kind() != reflect.Uintptr || !tls.IsValid() || tls.Type() != reflect.TypeFor[*libc.TLS]() {
		return inner{}, errors.New("this version of the JavaScript engine keeps its state elsewhere")
	}
	return inner{tls: (*libc.TLS)(tls.UnsafePointer()), runtime: uintptr(c.Uint()), context: uintptr(context.Uint())}, nil
}

// at turns an address of the engine's memory, which Go's collector knows
// nothing of, into a pointer.
func at[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

// hurry lets the next call that the script makes look for an interrupt. It may
// be called from any goroutine while the machine is open.
func (i inner) hurry() { atomic.StoreInt32(&at[lib.TJSContext](i.context).Finterrupt_counter, 0) }

// jobs runs the jobs that promises wait for until there are none, or stop says
// so. What a job throws is in its promise, or nobody's.
func (i inner) jobs(stop func() bool) {
	context := libc.Xcalloc(i.tls, 1, libc.Tsize_t(unsafe.Sizeof(uintptr(0))))
	if context == 0 {
		return
	}
	defer libc.Xfree(i.tls, context)
	for !stop() {
		switch lib.XJS_ExecutePendingJob(i.tls, i.runtime, context) {
		case 0:
			return
		case 1:
		default:
			lib.XFreeValue(i.tls, i.context, lib.XJS_GetException(i.tls, i.context))
		}
	}
}
