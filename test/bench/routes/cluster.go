package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// bench is a control plane, a gateway and a backend.
type bench struct {
	dir            string
	control, plane *exec.Cmd
	client         client.Client
	http           *http.Client
	backend        *http.Server
	// requests is where the gateway answers, health where it tells of itself.
	requests, health string
}

const namespace = "default"

func start(ctx context.Context) (b *bench, err error) {
	b = &bench{http: newClient()}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.stop())
		}
	}()
	if b.dir, err = os.MkdirTemp("", "routes"); err != nil {
		return b, err
	}
	kubeconfig, err := b.startControlPlane()
	if err != nil {
		return b, err
	}
	if err := b.connect(kubeconfig); err != nil {
		return b, err
	}
	address, err := b.startBackend()
	if err != nil {
		return b, err
	}
	port, err := freePort()
	if err != nil {
		return b, err
	}
	b.requests = fmt.Sprintf("127.0.0.1:%d", port)
	if err := b.createObjects(ctx, address, port); err != nil {
		return b, err
	}
	return b, b.startGateway(ctx, kubeconfig)
}

// program starts the program under test; it dies with this one.
func program(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join("bin", "escale"), args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	return cmd
}

func (b *bench) startControlPlane() (kubeconfig string, err error) {
	b.control = program("controlplane", "--data-dir", filepath.Join(b.dir, "data"), "--api-port", "0")
	out, err := b.control.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := b.control.Start(); err != nil {
		return "", fmt.Errorf("starting the control plane (is bin/escale built?): %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("waiting for the control plane: %w", err)
	}
	return strings.TrimSpace(line), nil
}

func (b *bench) connect(kubeconfig string) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	cfg.QPS = -1
	scheme := runtime.NewScheme()
	if err := errors.Join(clientscheme.AddToScheme(scheme), gatewayv1.Install(scheme)); err != nil {
		return err
	}
	b.client, err = client.New(cfg, client.Options{Scheme: scheme})
	return err
}

// startBackend serves at an address that is not loopback, because EndpointSlices refuse that.
func (b *bench) startBackend() (*net.TCPAddr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range list {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.To4() == nil || !n.IP.IsGlobalUnicast() {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(n.IP.String(), "0"))
		if err != nil {
			return nil, err
		}
		b.backend = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })}
		go func() { _ = b.backend.Serve(l) }()
		return l.Addr().(*net.TCPAddr), nil
	}
	return nil, errors.New("the machine has no IPv4 address but loopback")
}

func (b *bench) createObjects(ctx context.Context, backend *net.TCPAddr, port int) error {
	backendPort := int32(backend.Port)
	name := "http"
	objects := []client.Object{
		&gatewayv1.GatewayClass{
			ObjectMeta: metav1.ObjectMeta{Name: "bench"},
			Spec:       gatewayv1.GatewayClassSpec{ControllerName: "escale.dev/gateway"},
		},
		&gatewayv1.Gateway{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "edge"},
			Spec: gatewayv1.GatewaySpec{GatewayClassName: "bench", Listeners: []gatewayv1.Listener{
				{Name: "http", Port: gatewayv1.PortNumber(port), Protocol: gatewayv1.HTTPProtocolType},
			}},
		},
	}
	for _, service := range []string{"web", "other"} {
		objects = append(objects,
			&corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: service},
				Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: name, Port: 80}}},
			},
			&discoveryv1.EndpointSlice{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: namespace, Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service},
				},
				AddressType: discoveryv1.AddressTypeIPv4,
				Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &backendPort}},
				Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{backend.IP.String()}}},
			})
	}
	for _, o := range objects {
		if err := b.client.Create(ctx, o); err != nil {
			return fmt.Errorf("creating %T %q: %w", o, o.GetName(), err)
		}
	}
	return nil
}

func (b *bench) startGateway(ctx context.Context, kubeconfig string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	b.health = fmt.Sprintf("127.0.0.1:%d", port)
	b.plane = program("gateway", "--kubeconfig", kubeconfig, "--health", b.health, "--drain", "0s", "--lease-namespace", namespace)
	if err := b.plane.Start(); err != nil {
		return fmt.Errorf("starting the gateway: %w", err)
	}
	return b.until(ctx, func() bool { return b.status("http://"+b.health+"/readyz", "") == http.StatusOK })
}

// stop ends everything.
func (b *bench) stop() error {
	var errs []error
	for _, cmd := range []*exec.Cmd{b.plane, b.control} {
		if cmd == nil || cmd.Process == nil {
			continue
		}
		errs = append(errs, cmd.Process.Signal(syscall.SIGTERM))
		_ = cmd.Wait()
	}
	if b.backend != nil {
		errs = append(errs, b.backend.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}
