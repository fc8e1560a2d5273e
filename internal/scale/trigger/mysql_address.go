package trigger

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// mysqlAddress says where a MySQL or MariaDB is and how to talk to it.
type mysqlAddress struct {
	// network is "tcp", "tcp4", "tcp6" or "unix".
	network, address         string
	user, password, database string
	// timeout bounds connecting; readTimeout and writeTimeout bound each wait for the server. Zero is no bound of its own.
	timeout, readTimeout, writeTimeout time.Duration
	// encrypted asks for TLS, unverified trusts any certificate, optional does without TLS when the server has none.
	encrypted, unverified, optional bool
	// cleartext lets a server without TLS ask for the password as it is; statements allows several in one query.
	cleartext, statements bool
	// charsets are tried in turn until the server knows one.
	charsets  []string
	collation string
	// variables are assignments of the session's system variables, such as "time_zone = '+00:00'".
	variables []string
}

var errMySQLAddress = errors.New(`"connectionString" is none of MySQL; write it as user:password@tcp(host:3306)/database`)

// parseMySQLAddress reads the form that KEDA's connectionString has, which is the one of Go's usual MySQL driver:
// [user[:password]@][protocol[(address)]]/database[?parameter=value&...]. Database and values are escaped as in URLs.
// Errors name parameters, never values.
func parseMySQLAddress(text string) (mysqlAddress, error) {
	// A password may hold a slash and an at sign, so the last ones count.
	slash := strings.LastIndexByte(text, '/')
	if slash < 0 {
		return mysqlAddress{}, errMySQLAddress
	}
	a, err := parseMySQLServer(text[:slash])
	if err != nil {
		return mysqlAddress{}, err
	}
	database, parameters, _ := strings.Cut(text[slash+1:], "?")
	if a.database, err = url.PathUnescape(database); err != nil {
		return mysqlAddress{}, errMySQLAddress
	}
	for parameter := range strings.SplitSeq(parameters, "&") {
		if parameter == "" {
			continue
		}
		name, value, _ := strings.Cut(parameter, "=")
		if err := a.set(name, value); err != nil {
			return mysqlAddress{}, fmt.Errorf(`parameter %q of "connectionString": %w`, name, err)
		}
	}
	return a, nil
}

// parseMySQLServer reads what is before the database: [user[:password]@][protocol[(address)]].
func parseMySQLServer(text string) (mysqlAddress, error) {
	var a mysqlAddress
	server := text
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		a.user, a.password, _ = strings.Cut(text[:at], ":")
		server = text[at+1:]
	}
	protocol, address, given := strings.Cut(server, "(")
	if given {
		inner, closed := strings.CutSuffix(address, ")")
		if !closed {
			return a, errMySQLAddress
		}
		address = inner
	}
	a.network = cmp.Or(protocol, "tcp")
	switch a.network {
	case "tcp", "tcp4", "tcp6":
		a.address = withMySQLPort(cmp.Or(address, "127.0.0.1"))
	case "unix":
		a.address = cmp.Or(address, "/tmp/mysql.sock")
	default:
		return a, errMySQLAddress
	}
	return a, nil
}

func withMySQLPort(address string) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(strings.TrimSuffix(strings.TrimPrefix(address, "["), "]"), "3306")
}

// mysqlIndifferent are the driver's parameters that change nothing for reading one number.
var mysqlIndifferent = []string{"allowAllFiles", "checkConnLiveness", "clientFoundRows", "columnsWithAlias", "compress", "connectionAttributes",
	"interpolateParams", "loc", "maxAllowedPacket", "parseTime", "rejectReadOnly", "timeTruncate"}

// mysqlWord is a name that may become part of a statement as it is.
var mysqlWord = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// set takes one parameter with its escaped value.
func (a *mysqlAddress) set(name, value string) error {
	switch name {
	case "timeout":
		return setDuration(&a.timeout, value)
	case "readTimeout":
		return setDuration(&a.readTimeout, value)
	case "writeTimeout":
		return setDuration(&a.writeTimeout, value)
	case "tls":
		return a.setTLS(value)
	case "allowFallbackToPlaintext":
		return setBool(&a.optional, value)
	case "allowCleartextPasswords":
		return setBool(&a.cleartext, value)
	case "multiStatements":
		return setBool(&a.statements, value)
	case "allowNativePasswords":
		return onlyBool(true, value)
	case "allowOldPasswords":
		return onlyBool(false, value)
	case "charset":
		a.charsets = strings.Split(value, ",")
		return words(a.charsets...)
	case "collation":
		a.collation = value
		return words(value)
	case "serverPubKey":
		return errors.New("not supported; use tls")
	}
	if slices.Contains(mysqlIndifferent, name) {
		return nil
	}
	return a.setVariable(name, value)
}

func (a *mysqlAddress) setTLS(value string) error {
	switch strings.ToLower(value) {
	case "skip-verify":
		a.encrypted, a.unverified = true, true
		return nil
	case "preferred":
		a.encrypted, a.unverified, a.optional = true, true, true
		return nil
	}
	if setBool(&a.encrypted, value) != nil {
		return errors.New(`use "true", "skip-verify", "preferred" or "false"`)
	}
	return nil
}

// setVariable takes any other parameter as the driver does: as a system variable of the session.
func (a *mysqlAddress) setVariable(name, value string) error {
	if err := words(name); err != nil {
		return err
	}
	plain, err := url.QueryUnescape(value)
	if err != nil || plain == "" {
		return errors.New("it has no value; give one, escaped as in URLs")
	}
	a.variables = append(a.variables, name+" = "+plain)
	return nil
}

func setDuration(to *time.Duration, value string) error {
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		return errors.New(`it is no duration; write it as "2s"`)
	}
	*to = d
	return nil
}

func setBool(to *bool, value string) error {
	b, err := strconv.ParseBool(value)
	if err != nil {
		return errors.New(`use "true" or "false"`)
	}
	*to = b
	return nil
}

func onlyBool(supported bool, value string) error {
	var given bool
	if err := setBool(&given, value); err != nil {
		return err
	}
	if given != supported {
		return fmt.Errorf("only %t is supported", supported)
	}
	return nil
}

func words(list ...string) error {
	if slices.ContainsFunc(list, func(word string) bool { return !mysqlWord.MatchString(word) }) {
		return errors.New("it is no name of MySQL; use letters, digits, dots and underscores")
	}
	return nil
}
