package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/escale-dev/escale/test/bench/peer"
)

// The processors: one for the proxy that is measured, one for all else.
const (
	proxyCore = "1"
	loadCore  = "0"
)

// stage is the backend and the proxies, all running.
type stage struct {
	dir     string
	wrk     string
	proxies []*proxy // ours first
	running []*exec.Cmd
}

type proxy struct {
	name    string
	address string
	process int
}

func (s *stage) start(ctx context.Context, o options) error {
	var err error
	if s.wrk, err = peer.Program("wrk"); err != nil {
		return err
	}
	nginx, err := peer.Program("nginx")
	if err != nil {
		return err
	}
	backend, err := freeAddress()
	if err != nil {
		return err
	}
	conf, err := s.file("backend.conf", nginxConf(s.dir, fmt.Sprintf(`server { listen %s backlog=4096; location / { default_type text/plain; return 200 "%s"; } }`,
		backend, strings.Repeat("x", 1024))))
	if err != nil {
		return err
	}
	if _, err := s.run(loadCore, backend, nginx, "-p", s.dir, "-c", conf); err != nil {
		return err
	}
	for _, name := range append([]string{"escale"}, o.peers...) {
		if err := s.startProxy(ctx, name, backend, o); err != nil {
			return fmt.Errorf("starting %s: %w", name, err)
		}
	}
	return nil
}

func (s *stage) startProxy(ctx context.Context, name, backend string, o options) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	var command []string
	switch name {
	case "escale":
		command, err = s.escale(ctx, o.gateway, address, backend)
	case "haproxy":
		command, err = s.haproxy(address, backend)
	case "nginx":
		command, err = s.nginx(address, backend)
	case "traefik":
		command, err = s.traefik(ctx, address, backend)
	case "caddy":
		command, err = s.caddy(ctx, address, backend)
	default:
		err = fmt.Errorf("no proxy of this name is known")
	}
	if err != nil {
		return err
	}
	process, err := s.run(proxyCore, address, command...)
	if err != nil {
		return err
	}
	s.proxies = append(s.proxies, &proxy{name: name, address: address, process: process})
	return nil
}

func (s *stage) escale(ctx context.Context, program, address, backend string) ([]string, error) {
	if program == "" {
		program = filepath.Join(s.dir, "gateway")
		build := exec.CommandContext(ctx, "go", "build", "-o", program, "./test/bench/proxy/gateway")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building the gateway (run this program in the repository): %w\n%s", err, out)
		}
	}
	return []string{program, address, backend}, nil
}

func (s *stage) haproxy(address, backend string) ([]string, error) {
	program, err := peer.Program("haproxy")
	if err != nil {
		return nil, err
	}
	conf, err := s.file("haproxy.cfg", fmt.Sprintf(`global
  maxconn 2000
  nbthread 1
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  option forwardfor
  http-reuse always
frontend front
  bind %s
  default_backend back
backend back
  server one %s
`, address, backend))
	return []string{program, "-db", "-f", conf}, err
}

func (s *stage) nginx(address, backend string) ([]string, error) {
	program, err := peer.Program("nginx")
	if err != nil {
		return nil, err
	}
	conf, err := s.file("nginx.conf", nginxConf(s.dir, fmt.Sprintf(`upstream back { server %s; keepalive 512; keepalive_requests 1000000000; }
  server { listen %s backlog=4096; location / {
    proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header Host $host;
  } }`, backend, address)))
	return []string{program, "-p", s.dir, "-c", conf}, err
}

// nginxConf is a configuration of one process that logs nothing.
func nginxConf(dir, http string) string {
	return fmt.Sprintf(`master_process off; daemon off; pid %s/nginx-%d.pid; error_log stderr crit;
events { worker_connections 8192; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  %[3]s
}
`, dir, time.Now().UnixNano(), http)
}

func (s *stage) traefik(ctx context.Context, address, backend string) ([]string, error) {
	program, err := peer.Build(ctx, peer.Traefik)
	if err != nil {
		return nil, err
	}
	routes, err := s.file("routes.yaml", fmt.Sprintf("http:\n  routers:\n    r: {rule: 'PathPrefix(`/`)', service: s, entryPoints: [web]}\n"+
		"  services:\n    s: {loadBalancer: {servers: [{url: 'http://%s'}]}}\n", backend))
	return []string{program, "--entrypoints.web.address=" + address, "--providers.file.filename=" + routes,
		"--log.level=ERROR", "--global.checknewversion=false", "--global.sendanonymoususage=false"}, err
}

func (s *stage) caddy(ctx context.Context, address, backend string) ([]string, error) {
	program, err := peer.Build(ctx, peer.Caddy)
	if err != nil {
		return nil, err
	}
	conf, err := s.file("Caddyfile", fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n\tpersist_config off\n}\nhttp://%s {\n\treverse_proxy %s\n}\n", address, backend))
	return []string{program, "run", "--adapter", "caddyfile", "--config", conf}, err
}

func (s *stage) file(name, text string) (string, error) {
	path := filepath.Join(s.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// run starts a program on one core and waits until it answers.
func (s *stage) run(core, address string, command ...string) (int, error) {
	cmd := exec.Command("taskset", append([]string{"-c", core}, command...)...)
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	s.running = append(s.running, cmd)
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		select {
		case err := <-exited:
			return 0, fmt.Errorf("%s exited: %w\n%s", command[0], err, said.String())
		case <-time.After(50 * time.Millisecond):
		}
		if answers(address) {
			return cmd.Process.Pid, nil
		}
	}
	return 0, fmt.Errorf("%s did not answer at %s within 20 s", command[0], address)
}

// answers says whether the 1 KiB come from an address.
func answers(address string) bool {
	client := http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	res, err := client.Get("http://" + address + "/")
	if err != nil {
		return false
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return err == nil && res.StatusCode == http.StatusOK && len(body) == 1024
}

func (s *stage) stop() {
	for _, cmd := range s.running {
		_ = cmd.Process.Kill()
	}
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
