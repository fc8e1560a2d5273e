package process

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/escale-dev/escale/api/v1alpha1"
)

// imageStore keeps unpacked images in a folder that the node processes of a platform share. The folder of an image is
// named by its digest and appears at once, complete; index.json says which names stand for which digest. A lock file
// per image keeps it from being unpacked twice, and from being removed while a container of any node uses it.
type imageStore struct{ dir string }

// imageRecord is one image in the index.
type imageRecord struct {
	// Digest of the manifest for this machine's platform; it is the image's id.
	Digest string `json:"digest"`
	// Names are the complete references that stand for it.
	Names []string `json:"names"`
	// Repository digests, for display.
	Repositories []string `json:"repositories"`
	// Size of the files in bytes.
	Size int64 `json:"size"`
	// What the image says about its process.
	Entrypoint []string `json:"entrypoint,omitempty"`
	Cmd        []string `json:"cmd,omitempty"`
	Env        []string `json:"env,omitempty"`
	WorkingDir string   `json:"workingDir,omitempty"`
	User       string   `json:"user,omitempty"`
	StopSignal string   `json:"stopSignal,omitempty"`
}

// hostImage is always there: it has no files.
var hostImage = imageRecord{
	Digest:       "sha256:" + hex.EncodeToString(sum(v1alpha1.HostImage)),
	Names:        []string{complete(v1alpha1.HostImage)},
	Repositories: []string{v1alpha1.HostImage},
}

func sum(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:]
}

// complete adds what a short reference leaves out; what cannot be parsed stays as it is.
func complete(ref string) string {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return ref
	}
	return parsed.Name()
}

// usedImage is an image that cannot be removed until it is released.
type usedImage struct {
	imageRecord
	// files is the folder to show at /app; empty when there are none.
	files string
	lock  *os.File
}

func (u *usedImage) release() error { return closeAll(u.lock) }

func newImageStore(dir string) (*imageStore, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("image folder: %w", err)
	}
	return &imageStore{dir}, nil
}

func (s *imageStore) folder(digest string) string {
	return filepath.Join(s.dir, strings.ReplaceAll(digest, ":", "-"))
}

// lock takes a lock of the given kind on a file of the store; closing the file releases it.
func (s *imageStore) lock(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (s *imageStore) indexPath() string { return filepath.Join(s.dir, "index.json") }

// list returns all images.
func (s *imageStore) list() ([]imageRecord, error) {
	b, err := os.ReadFile(s.indexPath())
	if errors.Is(err, os.ErrNotExist) {
		return []imageRecord{hostImage}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the image index: %w", err)
	}
	records, err := parseIndex(b)
	if err != nil {
		return nil, err
	}
	return append(records, hostImage), nil
}

func parseIndex(b []byte) ([]imageRecord, error) {
	var records []imageRecord
	if err := json.Unmarshal(b, &records); err != nil {
		return nil, fmt.Errorf("reading the image index: %w", err)
	}
	return records, nil
}

// update changes the index under its lock and replaces the file at once.
func (s *imageStore) update(change func([]imageRecord) []imageRecord) error {
	lock, err := s.lock(s.indexPath(), unix.LOCK_EX)
	if err != nil {
		return fmt.Errorf("locking the image index: %w", err)
	}
	defer func() { _ = lock.Close() }()
	records, err := s.list()
	if err != nil {
		return err
	}
	records = change(records[:len(records)-1]) // without the host image, which list adds
	b, err := json.MarshalIndent(records, "", " ")
	if err != nil {
		return fmt.Errorf("writing the image index: %w", err)
	}
	tmp := s.indexPath() + ".new"
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return fmt.Errorf("writing the image index: %w", err)
	}
	if err := os.Rename(tmp, s.indexPath()); err != nil {
		return fmt.Errorf("writing the image index: %w", err)
	}
	return nil
}

// find returns the image that a reference or id stands for.
func (s *imageStore) find(ref string) (imageRecord, bool, error) {
	records, err := s.list()
	if err != nil {
		return imageRecord{}, false, err
	}
	i := findRecord(records, ref)
	if i < 0 {
		return imageRecord{}, false, nil
	}
	return records[i], true, nil
}

func findRecord(records []imageRecord, ref string) int {
	full := complete(ref)
	return slices.IndexFunc(records, func(r imageRecord) bool {
		return r.Digest == ref || slices.Contains(r.Names, full) || slices.Contains(r.Repositories, ref)
	})
}

// pull makes sure an image is there as the registry has it now.
func (s *imageStore) pull(ctx context.Context, ref string, auth *runtimeapi.AuthConfig) (imageRecord, error) {
	if complete(ref) == hostImage.Names[0] {
		return hostImage, nil
	}
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return imageRecord{}, fmt.Errorf("image %q: %w", ref, err)
	}
	img, err := remote.Image(parsed, remote.WithContext(ctx), remote.WithAuth(authenticator(auth)),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	if err != nil {
		return imageRecord{}, fmt.Errorf("image %q: %w", ref, err)
	}
	record, err := describe(img, parsed)
	if err != nil {
		return imageRecord{}, fmt.Errorf("image %q: %w", ref, err)
	}
	if record.Size, err = s.ensure(img, record.Digest); err != nil {
		return imageRecord{}, fmt.Errorf("image %q: %w", ref, err)
	}
	return record, s.update(func(rs []imageRecord) []imageRecord { return merge(rs, record) })
}

func authenticator(auth *runtimeapi.AuthConfig) authn.Authenticator {
	if auth == nil {
		return authn.Anonymous
	}
	return authn.FromConfig(authn.AuthConfig{
		Username: auth.Username, Password: auth.Password, Auth: auth.Auth,
		IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken,
	})
}

func describe(img v1.Image, ref name.Reference) (imageRecord, error) {
	digest, err := img.Digest()
	if err != nil {
		return imageRecord{}, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return imageRecord{}, err
	}
	c := file.Config
	return imageRecord{
		Digest:       digest.String(),
		Names:        []string{ref.Name()},
		Repositories: []string{ref.Context().Name() + "@" + digest.String()},
		Entrypoint:   c.Entrypoint, Cmd: c.Cmd, Env: c.Env, WorkingDir: c.WorkingDir, User: c.User, StopSignal: c.StopSignal,
	}, nil
}

// merge adds a record; a name stands for one image only.
func merge(records []imageRecord, add imageRecord) []imageRecord {
	var out []imageRecord
	for _, r := range records {
		if r.Digest == add.Digest {
			add.Names = union(r.Names, add.Names)
			add.Repositories = union(r.Repositories, add.Repositories)
			if add.Size == 0 {
				add.Size = r.Size
			}
			continue
		}
		r.Names = slices.DeleteFunc(slices.Clone(r.Names), func(n string) bool { return slices.Contains(add.Names, n) })
		out = append(out, r)
	}
	return append(out, add)
}

func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

// ensure unpacks an image unless it is there, and returns the size of what it unpacked.
func (s *imageStore) ensure(img v1.Image, digest string) (int64, error) {
	folder := s.folder(digest)
	for !exists(folder) {
		lock, err := s.lock(folder, unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = s.wait(folder)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return 0, err
		}
		size, err := s.unpack(img, folder)
		return size, errors.Join(err, lock.Close())
	}
	return 0, nil
}

// wait returns when nobody has the exclusive lock. It waits for a shared one itself: who waited for the exclusive lock
// would, once the image is there, wait for the containers that use it.
func (s *imageStore) wait(folder string) error {
	lock, err := s.lock(folder, unix.LOCK_SH)
	if err != nil {
		return err
	}
	return lock.Close()
}

// unpack makes the image's folder appear at once, for the holder of its lock.
func (s *imageStore) unpack(img v1.Image, folder string) (int64, error) {
	if exists(folder) {
		return 0, nil
	}
	tmp := folder + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return 0, err
	}
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return 0, err
	}
	size, err := unpack(img, tmp)
	if err != nil {
		return 0, errors.Join(err, os.RemoveAll(tmp))
	}
	if err := os.Rename(tmp, folder); err != nil {
		return 0, err
	}
	return size, syncFolder(s.dir)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// use keeps an image from being removed.
func (s *imageStore) use(record imageRecord) (*usedImage, error) {
	if record.Digest == hostImage.Digest {
		return &usedImage{imageRecord: record}, nil
	}
	folder := s.folder(record.Digest)
	lock, err := s.lock(folder, unix.LOCK_SH)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", record.Digest, err)
	}
	files, err := appFolder(folder)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("image %q: %w", record.Digest, err), lock.Close())
	}
	return &usedImage{imageRecord: record, files: files, lock: lock}, nil
}

// appFolder is what is shown at /app: see the package comment.
func appFolder(folder string) (string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return "", err
	}
	if len(entries) == 0 {
		return "", nil
	}
	if len(entries) == 1 && entries[0].IsDir() && entries[0].Name() == "app" {
		return filepath.Join(folder, "app"), nil
	}
	return folder, nil
}

var errImageInUse = errors.New("is used by a container")

// remove forgets an image and deletes its files; what is not there is removed already.
func (s *imageStore) remove(ref string) error {
	record, ok, err := s.find(ref)
	if err != nil || !ok {
		return err
	}
	if record.Digest == hostImage.Digest {
		return nil
	}
	folder := s.folder(record.Digest)
	lock, err := s.lock(folder, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("image %q: %w", ref, errImageInUse)
	}
	if err != nil {
		return fmt.Errorf("image %q: %w", ref, err)
	}
	defer func() { _ = lock.Close() }()
	err = s.update(func(rs []imageRecord) []imageRecord {
		return slices.DeleteFunc(rs, func(r imageRecord) bool { return r.Digest == record.Digest })
	})
	if err != nil {
		return err
	}
	// The lock file stays: whoever waits for it must find the same one.
	return os.RemoveAll(folder)
}

// ListImages lists the unpacked images and the one that stands for the machine.
func (r *Runtime) ListImages(_ context.Context, filter *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	records, err := r.images.list()
	if err != nil {
		return nil, err
	}
	if ref := filter.GetImage().GetImage(); ref != "" {
		i := findRecord(records, ref)
		if i < 0 {
			return nil, nil
		}
		records = records[i : i+1]
	}
	images := make([]*runtimeapi.Image, len(records))
	for i, rec := range records {
		images[i] = rec.image()
	}
	return images, nil
}

func (r imageRecord) image() *runtimeapi.Image {
	img := &runtimeapi.Image{
		Id: r.Digest, RepoTags: r.Names, RepoDigests: r.Repositories, Size: uint64(max(r.Size, 1)),
		Spec: &runtimeapi.ImageSpec{Image: r.Digest}, Pinned: r.Digest == hostImage.Digest,
	}
	user, err := parseUser(r.User)
	switch {
	case err != nil:
		img.Username = r.User
	case r.User != "":
		img.Uid = &runtimeapi.Int64Value{Value: int64(user.UID)}
	}
	return img
}

// ImageStatus answers without an image when there is none.
func (r *Runtime) ImageStatus(_ context.Context, image *runtimeapi.ImageSpec, _ bool) (*runtimeapi.ImageStatusResponse, error) {
	record, ok, err := r.images.find(image.GetImage())
	if err != nil || !ok {
		return &runtimeapi.ImageStatusResponse{}, err
	}
	return &runtimeapi.ImageStatusResponse{Image: record.image()}, nil
}

// PullImage returns the image's id.
func (r *Runtime) PullImage(ctx context.Context, image *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	record, err := r.images.pull(ctx, image.GetImage(), auth)
	if err != nil {
		return "", fmt.Errorf("pulling %w", err)
	}
	return record.Digest, nil
}

// RemoveImage fails while a container of any node uses the image.
func (r *Runtime) RemoveImage(_ context.Context, image *runtimeapi.ImageSpec) error {
	if err := r.images.remove(image.GetImage()); err != nil {
		return fmt.Errorf("removing %w", err)
	}
	return nil
}

// ImageFsInfo tells the space that images take, and where containers write.
func (r *Runtime) ImageFsInfo(context.Context) (*runtimeapi.ImageFsInfoResponse, error) {
	records, err := r.images.list()
	if err != nil {
		return nil, err
	}
	var used int64
	for _, rec := range records {
		used += rec.Size
	}
	return &runtimeapi.ImageFsInfoResponse{
		ImageFilesystems:     []*runtimeapi.FilesystemUsage{usage(r.images.dir, uint64(used))},
		ContainerFilesystems: []*runtimeapi.FilesystemUsage{usage(r.config.StateDir, 0)},
	}, nil
}

func usage(dir string, bytes uint64) *runtimeapi.FilesystemUsage {
	return &runtimeapi.FilesystemUsage{
		Timestamp: time.Now().UnixNano(),
		FsId:      &runtimeapi.FilesystemIdentifier{Mountpoint: dir},
		UsedBytes: &runtimeapi.UInt64Value{Value: bytes}, InodesUsed: &runtimeapi.UInt64Value{},
	}
}
