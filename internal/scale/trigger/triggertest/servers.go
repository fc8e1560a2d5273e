package triggertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// Redis is a Redis that keeps nothing, with the further settings given as arguments.
func Redis(settings ...string) Maker {
	return func(dir string) (*Server, error) {
		path, err := program("redis-server")
		if err != nil {
			return nil, err
		}
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		s := &Server{Address: at(port), log: filepath.Join(dir, "log")}
		arguments := append([]string{"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--save", "", "--appendonly", "no"}, settings...)
		s.commands = append(s.commands, func() *exec.Cmd { return exec.Command(path, arguments...) })
		s.ready = func(ctx context.Context) error {
			client := redis.NewClient(&redis.Options{Addr: s.Address, MaxRetries: -1})
			defer client.Close()
			err := client.Ping(ctx).Err()
			if redis.IsAuthError(err) {
				return nil
			}
			return err
		}
		return s, nil
	}
}

// RabbitMQ is a RabbitMQ with its management API at Admin, and the user guest with the password guest.
func RabbitMQ(dir string) (*Server, error) {
	path, err := program("/usr/lib/rabbitmq/bin/rabbitmq-server")
	if err != nil {
		return nil, err
	}
	epmd, err := program("epmd")
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	settings := fmt.Sprintf("listeners.tcp.1 = 127.0.0.1:%d\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = %d\n"+
		"collect_statistics_interval = 1000\nlog.console = true\n", ports[0], ports[1])
	if err := errors.Join(write(filepath.Join(dir, "rabbitmq.conf"), settings), write(filepath.Join(dir, "plugins"), "[rabbitmq_management].\n")); err != nil {
		return nil, err
	}
	s := &Server{Address: at(ports[0]), Admin: at(ports[1]), log: filepath.Join(dir, "log")}
	environment := append(os.Environ(), "HOME="+dir, "ERL_EPMD_PORT="+strconv.Itoa(ports[3]), "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_NODENAME=test"+strconv.Itoa(ports[0])+"@localhost", "RABBITMQ_DIST_PORT="+strconv.Itoa(ports[2]),
		"RABBITMQ_CONFIG_FILE="+filepath.Join(dir, "rabbitmq.conf"), "RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(dir, "plugins"),
		"RABBITMQ_MNESIA_BASE="+filepath.Join(dir, "data"), "RABBITMQ_LOG_BASE="+dir, "RABBITMQ_CONF_ENV_FILE=/dev/null",
		"RABBITMQ_PID_FILE="+filepath.Join(dir, "pid"), "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 1:1 +sbwt none")
	for _, arguments := range [][]string{{epmd, "-port", strconv.Itoa(ports[3]), "-address", "127.0.0.1"}, {path}} {
		s.commands = append(s.commands, func() *exec.Cmd {
			cmd := exec.Command(arguments[0], arguments[1:]...)
			cmd.Env = environment
			return cmd
		})
	}
	s.ready = func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://guest:guest@"+s.Admin+"/api/overview", nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("the management API answers %s", answer.Status)
		}
		return listens(s.Address)(ctx)
	}
	return s, nil
}

// PostgreSQL is a PostgreSQL with the database, user and password "postgres".
func PostgreSQL(dir string) (*Server, error) {
	path, err := program("/usr/lib/postgresql/15/bin/postgres", "/usr/lib/postgresql/17/bin/postgres", "postgres")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	owner, err := other(dir, "postgres")
	if err != nil {
		return nil, err
	}
	data, password := filepath.Join(dir, "data"), filepath.Join(dir, "password")
	if err := write(password, "postgres\n"); err != nil {
		return nil, err
	}
	initdb := exec.Command(filepath.Join(filepath.Dir(path), "initdb"), "-D", data, "-U", "postgres", "--auth=scram-sha-256", "--pwfile="+password, "--no-sync", "-E", "UTF8", "--locale=C")
	initdb.SysProcAttr, initdb.Dir = owner(), dir
	if err := run(initdb); err != nil {
		return nil, err
	}
	s := &Server{Address: at(port), log: filepath.Join(dir, "log")}
	s.commands = append(s.commands, func() *exec.Cmd {
		// A killed server leaves its lock behind; no other can have this directory.
		_ = os.Remove(filepath.Join(data, "postmaster.pid"))
		cmd := exec.Command(path, "-D", data, "-p", strconv.Itoa(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off")
		cmd.SysProcAttr, cmd.Dir = owner(), dir
		return cmd
	})
	s.ready = func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, "postgres://postgres:postgres@"+s.Address+"/postgres")
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	}
	return s, nil
}

// MariaDB is a MariaDB with the database "test" and the user "scaler" with the password "secret", with the further settings
// given as arguments.
func MariaDB(settings ...string) Maker {
	return func(dir string) (*Server, error) {
		path, err := program("/usr/sbin/mariadbd", "mariadbd")
		if err != nil {
			return nil, err
		}
		install, err := program("mariadb-install-db")
		if err != nil {
			return nil, err
		}
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		data := filepath.Join(dir, "data")
		if err := run(exec.Command(install, "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db", "--user="+current())); err != nil {
			return nil, err
		}
		begin := filepath.Join(dir, "begin.sql")
		if err := write(begin, "CREATE DATABASE IF NOT EXISTS test;\nCREATE USER IF NOT EXISTS 'scaler'@'%' IDENTIFIED BY 'secret';\nGRANT ALL ON test.* TO 'scaler'@'%';\n"); err != nil {
			return nil, err
		}
		arguments := append([]string{"--no-defaults", "--datadir=" + data, "--bind-address=127.0.0.1", "--port=" + strconv.Itoa(port), "--socket=" + filepath.Join(dir, "s"),
			"--pid-file=" + filepath.Join(dir, "pid"), "--init-file=" + begin, "--user=" + current(), "--innodb-flush-log-at-trx-commit=0"}, settings...)
		s := &Server{Address: at(port), log: filepath.Join(dir, "log")}
		s.commands = append(s.commands, func() *exec.Cmd { return exec.Command(path, arguments...) })
		s.ready = s.answersMySQL
		return s, nil
	}
}

func (s *Server) answersMySQL(ctx context.Context) error {
	conn, err := client.ConnectWithDialer(ctx, "tcp", s.Address, "scaler", "secret", "test", (&net.Dialer{}).DialContext)
	if err != nil {
		return err
	}
	return conn.Quit()
}

func current() string {
	if who, err := user.Current(); err == nil {
		return who.Username
	}
	return "root"
}

// other gives a directory to a user when this process is root, for servers that refuse to run as root.
func other(dir, name string) (func() *syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return func() *syscall.SysProcAttr { return nil }, nil
	}
	who, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("user %q: %w", name, ErrNotInstalled)
	}
	uid, uidErr := strconv.Atoi(who.Uid)
	gid, gidErr := strconv.Atoi(who.Gid)
	if err := errors.Join(uidErr, gidErr, os.Chown(dir, uid, gid), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		return nil, err
	}
	return func() *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}, nil
}

// Sentinel watches one Redis under the name "main".
func Sentinel(address string) Maker {
	return func(dir string) (*Server, error) {
		path, err := program("redis-sentinel")
		if err != nil {
			return nil, err
		}
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		host, watched, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		settings := filepath.Join(dir, "sentinel.conf")
		if err := write(settings, fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor main %s %s 1\n", port, dir, host, watched)); err != nil {
			return nil, err
		}
		s := &Server{Address: at(port), log: filepath.Join(dir, "log"), ready: listens(at(port))}
		s.commands = append(s.commands, func() *exec.Cmd { return exec.Command(path, settings) })
		return s, nil
	}
}
