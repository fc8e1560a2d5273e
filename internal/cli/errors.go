package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"

	"github.com/escale-dev/escale/internal/engine/control"
	"github.com/escale-dev/escale/internal/release"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
)

// failure is an error with the step that helps.
type failure struct {
	err  error
	next string
	code int // 0 stands for codeFailed
	// final says that waiting will not change it.
	final bool
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// withNext adds the next step to an error.
func withNext(err error, format string, args ...any) error {
	return &failure{err: err, next: fmt.Sprintf(format, args...)}
}

// isFinal says that waiting will not make the error go.
func isFinal(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.final
}

func usageError(c *cobra.Command, err error) error {
	return &failure{err: err, next: fmt.Sprintf("`%s --help` shows how it is used", c.CommandPath()), code: codeUsage}
}

// flagError makes a usage error of what is wrong with a flag, and suggests the flag that was meant.
func flagError(c *cobra.Command, err error) error {
	f := &failure{err: err, next: fmt.Sprintf("`%s --help` lists the flags", c.CommandPath()), code: codeUsage}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || unknown.GetSpecifiedShortnames() != "" {
		return f
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := nearest(unknown.GetSpecifiedName(), names); near != "" {
		f.next = fmt.Sprintf("did you mean --%s?", near)
	}
	return f
}

// advice is a failure as a person reads it.
type advice struct {
	sentence, next string
	code           int
}

// explain turns any error into a sentence and a next step. It is pure.
func explain(err error) advice {
	a := advice{sentence: err.Error(), next: nextStep(err), code: codeFailed}
	var f *failure
	if errors.As(err, &f) {
		if f.next != "" {
			a.next = f.next
		}
		if f.code != 0 {
			a.code = f.code
		}
	}
	return a
}

// nextStep is the step that helps with errors of other packages.
func nextStep(err error) string {
	var line *release.LineError
	switch {
	case errors.As(err, &line):
		return "correct the lines named above; `escale render` checks the file without deploying it"
	case errors.Is(err, control.ErrNotRunning):
		return "start the platform with `escale up`, or name its data directory with --data-dir"
	case errors.Is(err, release.ErrNoApp):
		return "`escale status` lists the Apps; -n names another namespace"
	case meta.IsNoMatchError(err):
		return "the cluster does not know this kind: install its definition first, or remove the object"
	case apierrors.IsUnauthorized(err):
		return "the cluster does not accept the credentials of the kubeconfig: get a new one, or name another with --kubeconfig"
	case apierrors.IsForbidden(err):
		return "ask the cluster's administrator for this permission, or use another user with --context"
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return "correct the object, then run the command again"
	case apierrors.IsServerTimeout(err), apierrors.IsTimeout(err), apierrors.IsTooManyRequests(err), apierrors.IsServiceUnavailable(err):
		return "the cluster is busy: run the command again in a moment"
	case errors.Is(err, context.DeadlineExceeded):
		return "`escale status` says what is not ready; --timeout waits longer"
	case errors.Is(err, fs.ErrPermission):
		return "run the command as the user the file belongs to"
	case errors.Is(err, fs.ErrNotExist):
		return "check the name, or the folder the command runs in"
	}
	return "`escale doctor` checks this machine, `escale status` the platform"
}

// reason is why a server does not answer, in words.
func reason(err error) string {
	var (
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		timeout   interface{ Timeout() bool }
	)
	switch {
	case errors.As(err, &dns):
		return fmt.Sprintf("the host name %q is not known", dns.Name)
	case errors.Is(err, unix.ECONNREFUSED):
		return "nothing listens there"
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		return "there is no way to that address from this machine"
	case errors.As(err, &authority):
		return "its certificate is not signed by the authority the file names"
	case errors.As(err, &hostname), errors.As(err, &invalid):
		return "its certificate is not valid: " + innermost(err)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Sprintf("no answer within %s", connectTimeout)
	}
	return innermost(err)
}

// innermost is the text of the cause at the end of the chain.
func innermost(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return strings.TrimSpace(err.Error())
		}
		err = next
	}
}
