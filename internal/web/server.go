package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Config is what a Server needs.
type Config struct {
	// Listener to serve on; the server closes it.
	Listener net.Listener
	// Dir is where sessions are kept over a restart, as hashes, mode 0600. It is made if it is not there.
	Dir string
	// Hosts are names, beside those of loopback, under which the portal may be addressed, such as that of a proxy.
	Hosts []string
	// Version of the program, shown at the foot of each page.
	Version string
	// LoginUsed, when set, is told the next login URL each time one was used, so that the platform can publish it.
	LoginUsed func(next string)
	// Log of the server.
	Log *slog.Logger
}

// Server serves the portal's pages. Pages, actions and sections are added before Run.
type Server struct {
	cfg      Config
	mux      *http.ServeMux
	gate     *gate
	sections []Section
}

// Section is an entry of the navigation.
type Section struct {
	Title, Path string
}

// New prepares a server. It answers once Run is called.
func New(cfg Config) (*Server, error) {
	g, err := openGate(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening sessions of the portal: %w", err)
	}
	if g.damaged != nil {
		cfg.Log.Warn("portal sessions could not be read; everybody has to log in again", "err", g.damaged)
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux(), gate: g}
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	s.mux.HandleFunc("GET /assets/{name}", serveAsset)
	s.mux.HandleFunc("GET /login", s.login)
	s.mux.Handle("POST /logout", s.session(http.HandlerFunc(s.logout)))
	s.mux.Handle("/", s.session(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, NotFound(fmt.Sprintf("There is no page at %s.", r.URL.Path), "Go to the overview."))
	})))
	return s, nil
}

// Section adds an entry to the navigation, after those that are there. One whose path is there already is left out, so
// that whoever puts the capabilities together can say the order first.
func (s *Server) Section(title, path string) {
	if slices.ContainsFunc(s.sections, func(have Section) bool { return have.Path == path }) {
		return
	}
	s.sections = append(s.sections, Section{Title: title, Path: path})
}

// URL of the portal, without a token.
func (s *Server) URL() string {
	addr := s.cfg.Listener.Addr().String()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "http://" + addr
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// NewToken makes a one-time token for /login?token=. It is good for one login, until the server stops; of tokens that
// nobody uses the newest 16 are good.
func (s *Server) NewToken() string { return s.gate.newToken() }

// LoginURL is the address that logs in once, with a new token.
func (s *Server) LoginURL() string { return s.URL() + "/login?token=" + s.NewToken() }

// shutdownGrace is how long requests may take to end after Run's context has.
const shutdownGrace = 2 * time.Second

// Run serves until ctx ends, then ends streams at once and gives other requests two seconds.
func (s *Server) Run(ctx context.Context) error {
	srv := &http.Server{
		Handler:           s.Handler(),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		stopped <- srv.Shutdown(grace)
	})
	err := srv.Serve(s.cfg.Listener)
	if stop() {
		return fmt.Errorf("serving portal: %w", err)
	}
	if err := <-stopped; err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("stopping portal: %w", err)
	}
	return srv.Close()
}

// Handler is the server without its listener: what Run serves.
func (s *Server) Handler() http.Handler {
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, &Error{Code: http.StatusForbidden, Message: "This request came from another site and was refused.",
			Next: "Do it from a page of this portal."})
	}))
	guarded := cross.Handler(s.mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setHeaders(w.Header())
		if !s.addressed(r.Host) {
			http.Error(w, "this portal does not answer under the name it was asked by; use "+s.URL(), http.StatusMisdirectedRequest)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// addressed says whether the Host header names this server: a loopback address, a name that browsers never ask a
// resolver about, or a configured host.
func (s *Server) addressed(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsLoopback() {
		return true
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || slices.Contains(s.cfg.Hosts, host)
}
