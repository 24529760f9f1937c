package userdata

import (
	"bytes"
	"compress/bzip2"
	"compress/flate"
	"compress/zlib"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
)

// How far a search goes. Tools wrap once or twice; whoever wraps more often
// than this is told so, unless it is plain that nothing of ours can be inside.
const (
	maxLayers = 12
	maxTexts  = 256     // looked at in all
	maxBytes  = 4 << 20 // looked at in all
)

// A search looks for what is ours behind wrappings that bootagent does not
// take off, because another program may read what is wrapped in them
// otherwise. It ends with an error that names them.
type search struct {
	name    string // what errors call the text
	texts   int
	bytes   int
	refused error // what could not be looked into
}

// A wrapping is what tools put around a text, in the way or by mistake.
type wrapping struct {
	name string
	take func(s *search, text []byte) [][]byte // what may be in it; nil where it is none
}

// wrappings are those that are known, the ones that can't be mistaken first.
var wrappings = []wrapping{
	{"gzip", takeGzip},
	{"bzip2", takeBzip2},
	{"zlib", takeZlib},
	{"a zip archive", takeZip},
	{"a tar archive", takeTar},
	{"", takeNothing},
	{"a byte order mark", takeBOM},
	{"UTF-32", takeUTF32},
	{"UTF-16", takeUTF16},
	{"characters that can't be seen", takeUnseen},
	{"quotes", takeQuotes},
	{"hexadecimal digits", takeHex},
	{"base64", takeBase64},
	{"#cloud-config-archive", takeArchive},
	{"a value in YAML or JSON", takeValue},
	{"% escapes", takePercent},
	{`\ escapes`, takeEscapes},
	{"lines before it", takeLines},
}

// look gives an error where text is ours, as it is or inside of wrappings. The
// layers are those that were taken off before, from the outside.
func (s *search) look(text []byte, layers []string) error {
	if !s.may(text) {
		return nil
	}
	if firstLine(text) == mark {
		return s.wrapped(layers, "the first line is "+mark)
	}
	part, err := s.findPart(text)
	switch {
	case err != nil && len(s.toTake(layers)) == 0:
		return err
	case err != nil, part != nil:
		return s.wrapped(layers, "it begins with the header of the MIME message")
	}
	return s.hidden(text, layers)
}

// hidden is look for a text that is neither a document nor a message of ours.
func (s *search) hidden(text []byte, layers []string) error {
	err := nearMiss(s.name, text)
	switch {
	case err == nil:
		return s.unwrap(text, layers)
	case len(s.toTake(layers)) > 0:
		return s.wrapped(layers, "the first line is "+mark)
	}
	return err
}

// unwrap looks into each wrapping that a text may have.
func (s *search) unwrap(text []byte, layers []string) error {
	if isAnothers(text) && !archive.Match(text) {
		return nil
	}
	for _, w := range wrappings {
		for _, inner := range w.take(s, text) {
			if len(layers) == maxLayers {
				s.refuse("wrapped more than %d times, from the outside in %s; bootagent looks no deeper", maxLayers, strings.Join(layers, ", in it "))
				return nil
			}
			if err := s.look(inner, append(slices.Clip(layers), w.name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// may counts what is looked at.
func (s *search) may(text []byte) bool {
	s.texts++
	s.bytes += len(text)
	if s.texts <= maxTexts && s.bytes <= maxBytes {
		return true
	}
	s.refuse("wrapped too often or too large to search; pass it as text")
	return false
}

// refuse keeps what is to be said where nothing of ours is found.
func (s *search) refuse(format string, args ...any) {
	if s.refused == nil {
		s.refused = broken(s.name, 1, format, args...)
	}
}

// toTake are the layers that have to go. One layer of gzip, the innermost, may
// stay.
func (*search) toTake(layers []string) []string {
	if n := len(layers); n > 0 && layers[n-1] == "gzip" {
		return layers[:n-1]
	}
	return layers
}

// wrapped is the error for what is ours behind layers.
func (s *search) wrapped(layers []string, goal string) error {
	take := s.toTake(layers)
	if len(take) == 0 {
		return broken(s.name, 1, "this seems to be meant for bootagent")
	}
	them, stays := "it", ""
	if len(take) > 1 {
		them = "them"
	}
	if len(take) < len(layers) {
		stays = "; the gzip in it can stay"
	}
	if take[0] == "base64" {
		stays += "; EC2's tools encode user-data in base64 themselves"
	}
	return broken(s.name, 1, "this is meant for bootagent, but wrapped in %s; remove %s, so that %s%s",
		strings.Join(take, ", in it "), them, goal, stays)
}

func takeGzip(s *search, text []byte) [][]byte {
	inner, err := unpack(s.name, text)
	switch {
	case !isGzip(text):
		return nil
	case err != nil && s.refused == nil:
		s.refused = err
		return nil
	}
	return [][]byte{inner}
}

func takeBzip2(s *search, text []byte) [][]byte {
	if !bytes.HasPrefix(text, []byte("BZh")) {
		return nil
	}
	return s.unpacked("bzip2", text, func() ([]byte, error) { return readAll(bzip2.NewReader(bytes.NewReader(text))) })
}

// unpacked gives what a packer packed, and refuses what can't be unpacked.
func (s *search) unpacked(packer string, text []byte, read func() ([]byte, error)) [][]byte {
	inner, err := read()
	switch {
	case errors.Is(err, errLarge):
		s.refuse("%s data of more than 1 MiB; bootagent unpacks no more", packer)
		return nil
	case err != nil && len(inner) == 0:
		return nil // a few bytes that look alike
	}
	return [][]byte{inner}
}

func takeZlib(s *search, text []byte) [][]byte {
	r, err := zlib.NewReader(bytes.NewReader(text))
	if err != nil {
		return nil
	}
	return s.unpacked("zlib", text, func() ([]byte, error) { return readAll(r) })
}

// maxFiles bounds how many files of an archive are looked at.
const maxFiles = 16

// takeZip takes the files of an archive by the headers before each
// (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3.7).
func takeZip(s *search, text []byte) (files [][]byte) {
	const head = 30
	local := []byte("PK\x03\x04")
	for rest := text; bytes.HasPrefix(rest, local) && len(rest) > head && len(files) < maxFiles; {
		le := binary.LittleEndian
		from := head + int(le.Uint16(rest[26:])) + int(le.Uint16(rest[28:]))
		data := rest[min(from, len(rest)):]
		next := bytes.Index(data, local)
		switch le.Uint16(rest[8:]) {
		case 8:
			files = append(files, s.unpacked("zip", data, func() ([]byte, error) { return readAll(flate.NewReader(bytes.NewReader(data))) })...)
		case 0:
			files = append(files, data[:min(int64(le.Uint32(rest[18:])), int64(len(data)))])
		default:
			s.refuse("a zip archive that bootagent can't read; pass text")
		}
		if next < 0 {
			break
		}
		rest = data[next:]
	}
	return files
}

// takeTar takes the files of an archive (tar(5)).
func takeTar(_ *search, text []byte) (files [][]byte) {
	const block = 512
	for rest := text; len(rest) > block && bytes.HasPrefix(rest[257:], []byte("ustar")) && len(files) < maxFiles; {
		size, err := strconv.ParseUint(strings.Trim(string(rest[124:136]), " \x00"), 8, 40)
		rest = rest[block:]
		if err != nil || size > uint64(len(rest)) {
			return append(files, rest)
		}
		if size > 0 {
			files = append(files, rest[:size])
		}
		rest = rest[min(int(size)+(block-int(size)%block)%block, len(rest)):]
	}
	return files
}

// packers are those whose data can't be looked into here, by how it begins.
var packers = map[string]string{
	"\xfd7zXZ\x00": "xz", "\x28\xb5\x2f\xfd": "zstd", "7z\xbc\xaf\x27\x1c": "7z", "\x04\x22\x4d\x18": "lz4",
	"LZIP": "lzip", "\x5d\x00\x00\x80\x00": "lzma", "\x1f\x9d": "compress",
	"-----BEGIN PGP MESSAGE": "gpg", "-----BEGIN AGE ENCRYPTED": "age", "age-encryption.org/": "age", "$ANSIBLE_VAULT;": "ansible-vault",
}

// takeNothing refuses what can't be looked into. No program that is known to
// read user-data reads it either.
func takeNothing(s *search, text []byte) [][]byte {
	for begin, packer := range packers {
		if bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte(begin)) {
			s.refuse("packed by %s, which bootagent can't read; pass text, or text packed by gzip", packer)
		}
	}
	return nil
}

func takeBOM(_ *search, text []byte) [][]byte {
	// The second is the first, taken for Latin-1 and encoded anew.
	for _, bom := range []string{"\xef\xbb\xbf", "\u00ef\u00bb\u00bf"} {
		if rest, ok := bytes.CutPrefix(text, []byte(bom)); ok {
			return [][]byte{rest}
		}
	}
	return nil
}

func takeUTF16(_ *search, text []byte) [][]byte {
	var order binary.ByteOrder
	rest := text
	switch {
	case bytes.HasPrefix(text, []byte("\xff\xfe")):
		order, rest = binary.LittleEndian, text[2:]
	case bytes.HasPrefix(text, []byte("\xfe\xff")):
		order, rest = binary.BigEndian, text[2:]
	case zeros(text, 2, 0) && !zeros(text, 2, 1):
		order = binary.BigEndian
	case zeros(text, 2, 1) && !zeros(text, 2, 0):
		order = binary.LittleEndian
	default:
		return nil
	}
	units := make([]uint16, len(rest)/2)
	for i := range units {
		units[i] = order.Uint16(rest[2*i:])
	}
	return [][]byte{[]byte(string(utf16.Decode(units)))}
}

func takeUTF32(_ *search, text []byte) [][]byte {
	var order binary.ByteOrder
	rest := text
	switch {
	case bytes.HasPrefix(text, []byte("\xff\xfe\x00\x00")):
		order, rest = binary.LittleEndian, text[4:]
	case bytes.HasPrefix(text, []byte("\x00\x00\xfe\xff")):
		order, rest = binary.BigEndian, text[4:]
	case zeros(text, 4, 0) && zeros(text, 4, 1) && !zeros(text, 4, 3):
		order = binary.BigEndian
	case zeros(text, 4, 2) && zeros(text, 4, 3) && !zeros(text, 4, 0):
		order = binary.LittleEndian
	default:
		return nil
	}
	runes := make([]rune, len(rest)/4)
	for i := range runes {
		runes[i] = rune(order.Uint32(rest[4*i:]))
	}
	return [][]byte{[]byte(string(runes))}
}

// zeros tells whether one byte of every few is zero, nearly always, at the
// beginning of a text.
func zeros(text []byte, every, at int) bool {
	text = text[:min(len(text), 256)]
	there, count := 0, 0
	for i := at; i < len(text); i += every {
		there++
		if text[i] == 0 {
			count++
		}
	}
	return there >= 4 && count*10 >= there*9
}

// takeUnseen takes off what an editor or a web page puts before a text unseen.
func takeUnseen(_ *search, text []byte) [][]byte {
	rest := bytes.TrimLeftFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) && r != 0 || unicode.Is(unicode.Cf, r)
	})
	if len(rest) == len(text) || len(bytes.TrimLeft(text, " \t\r\n")) == len(rest) {
		return nil
	}
	return [][]byte{rest}
}

func takeQuotes(_ *search, text []byte) [][]byte {
	text = bytes.TrimSpace(text)
	n := len(text)
	if n < 2 || text[0] != text[n-1] || !strings.ContainsRune("\"'`", rune(text[0])) {
		return nil
	}
	inner := text[1 : n-1]
	if text[0] == '"' {
		var plain string
		if json.Unmarshal(text, &plain) == nil {
			return [][]byte{[]byte(plain)}
		}
		inner = bytes.ReplaceAll(inner, []byte(`\"`), []byte(`"`))
	}
	return [][]byte{inner}
}

// takeEscapes undoes line breaks that are written as \n.
func takeEscapes(_ *search, text []byte) [][]byte {
	if !strings.Contains(firstLine(text), `\n`) {
		return nil
	}
	plain := strings.NewReplacer(`\r\n`, "\n", `\n`, "\n", `\t`, "\t", `\"`, `"`, `\\`, `\`).Replace(string(text))
	return [][]byte{[]byte(plain)}
}

func takePercent(_ *search, text []byte) (plain [][]byte) {
	if !percent.Match(text) || bytes.ContainsAny(text, " \t") {
		return nil
	}
	if q, err := url.QueryUnescape(string(text)); err == nil && bytes.ContainsRune(text, '+') {
		plain = append(plain, []byte(q))
	}
	if p, err := url.PathUnescape(string(text)); err == nil {
		plain = append(plain, []byte(p))
	}
	return plain
}

var percent = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
