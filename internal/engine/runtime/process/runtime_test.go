package process

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestPodRunsAProgramOfTheMachine(t *testing.T) {
	b := newBench(t)
	for name, tc := range map[string]struct {
		config *runtimeapi.ContainerConfig
		want   string
	}{
		"shell":         {shell("echo hello; echo world"), "hello\nworld\n"},
		"python":        {program("python3", "-c", "print(6*7)"), "42\n"},
		"host name":     {program("hostname"), "output\n"},
		"own processes": {shell("echo $$; set -- /proc/[0-9]*; echo $#"), "1\n1\n"},
		"last byte":     {shell("printf 'no newline'"), "no newline\n"},
		"resolver": {
			program("cat", "/etc/resolv.conf"),
			"nameserver 10.42.4.1\nsearch default.svc.cluster.local cluster.local\noptions ndots:1\n",
		},
		"variables":             {shell("echo $HOST $HOME $HOSTNAME"), "0.0.0.0 /root output\n"},
		"hidden folders":        {shell("ls -A /root /home /srv /mnt; ls /var/lib"), "/home:\n\n/mnt:\n\n/root:\n\n/srv:\n"},
		"read-only machine":     {shell("touch /usr/x /etc/x 2>/dev/null || echo refused"), "refused\n"},
		"writable own":          {shell("echo a > /tmp/x; echo b > /var/tmp/x; echo c > /run/x; cat /tmp/x /var/run/x"), "a\nc\n"},
		"devices":               {shell("head -c 3 /dev/zero | wc -c; echo x > /dev/null; ls /dev/fd/0"), "3\n/dev/fd/0\n"},
		"no device can be made": {shell("mknod /tmp/x b 1 1 2>/dev/null || echo refused"), "refused\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (&bench{t, b.Runtime, b.dir}).output(tc.config); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestImageFilesAreAtApp(t *testing.T) {
	b := newBench(t)
	ref := push(t, v1.Config{Cmd: []string{"serve"}, Env: []string{"COLOR=blue"}, User: "65532:65532"},
		entry{name: "app/serve", content: "#!/bin/sh\necho serving $COLOR as $(id -u):$(id -g) in $(pwd)\ntouch x 2>/dev/null || echo read-only\n"})
	c := program()
	c.Image = &runtimeapi.ImageSpec{Image: ref}
	if got, want := b.output(c), "serving blue as 65532:65532 in /app\nread-only\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
