package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
)

// A WAV file's head, of PCM: the sizes count what follows them.
type wavHead struct {
	Riff           [4]byte
	RiffSize       uint32
	Wave, Fmt      [4]byte
	FmtSize        uint32
	Format         uint16
	Channels       uint16
	Hertz          uint32
	BytesPerSecond uint32
	FrameBytes     uint16
	Bits           uint16
}

// ReadWav returns the samples and the rate of a WAV file, which is a list of chunks: a name, a size, and as many bytes.
func readWav(path string) ([]byte, int, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, err
	}
	var head wavHead
	err = binary.Read(bytes.NewReader(file), binary.LittleEndian, &head)
	if err == nil && string(head.Wave[:]) == "WAVE" && head.Format == 1 && head.Channels == 1 && head.Bits == 16 {
		for at := 20 + int(head.FmtSize); at+8 <= len(file); {
			size, begin := int(binary.LittleEndian.Uint32(file[at+4:])), at+8
			if string(file[at:at+4]) == "data" && begin+size <= len(file) {
				return file[begin : begin+size], int(head.Hertz), nil
			}
			at = begin + size
		}
	}
	return nil, 0, fmt.Errorf("%s is not a WAV file of 16 bit mono", path)
}

func writeWav(path string, samples []byte, hertz int) error {
	var file bytes.Buffer
	head := wavHead{
		Riff: [4]byte{'R', 'I', 'F', 'F'}, RiffSize: uint32(36 + len(samples)), Wave: [4]byte{'W', 'A', 'V', 'E'},
		Fmt: [4]byte{'f', 'm', 't', ' '}, FmtSize: 16, Format: 1, Channels: 1, Hertz: uint32(hertz),
		BytesPerSecond: uint32(2 * hertz), FrameBytes: 2, Bits: 16,
	}
	binary.Write(&file, binary.LittleEndian, head)
	file.WriteString("data")
	binary.Write(&file, binary.LittleEndian, uint32(len(samples)))
	file.Write(samples)
	return os.WriteFile(path, file.Bytes(), 0o644)
}
