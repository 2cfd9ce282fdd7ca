// Verifies a run log with the Go team's own packages for transparency logs, which share no line with ours:
//
//	verify_run_log log VKEY EXPORT CHECKPOINT [HELD ...]
//	verify_run_log entry VKEY ENTRY PROOF
//	verify_run_log consistency VKEY CHECKPOINT PROOF
//
// Exit code 0: verified. 1: not verified, for whatever reason.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func check(err error) {
	if err != nil {
		fmt.Println("not verified:", err)
		os.Exit(1)
	}
}

func read(path string) []byte {
	data, err := os.ReadFile(path)
	check(err)
	return data
}

// A checkpoint's first three lines; tlog.ParseTree wants a header of its own, so they are read here.
func opened(text []byte, verifier note.Verifier) tlog.Tree {
	signed, err := note.Open(text, note.VerifierList(verifier))
	check(err)
	lines := strings.Split(signed.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		check(fmt.Errorf("not a checkpoint of %s", verifier.Name()))
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	return tlog.Tree{N: size, Hash: parsed(lines[2])}
}

func parsed(line string) tlog.Hash {
	var hash tlog.Hash
	data, err := base64.StdEncoding.DecodeString(line)
	check(err)
	if copy(hash[:], data) != tlog.HashSize || len(data) != tlog.HashSize {
		check(fmt.Errorf("a hash of %d bytes", len(data)))
	}
	return hash
}

// Number and hashes of a proof, and the checkpoint after its empty line.
func proof(path string, header string) (int64, []tlog.Hash, []byte) {
	head, rest, found := bytes.Cut(read(path), []byte("\n\n"))
	if !found || !strings.HasPrefix(string(head), header) {
		check(fmt.Errorf("%s is no proof", path))
	}
	lines := strings.Split(strings.TrimPrefix(string(head), header), "\n")
	number, err := strconv.ParseInt(lines[0], 10, 64)
	check(err)
	var hashes []tlog.Hash
	for _, line := range lines[1:] {
		hashes = append(hashes, parsed(line))
	}
	return number, hashes, rest
}

// The stored hashes of a log, in memory, as tlog numbers them.
type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		found[i] = h[index]
	}
	return found, nil
}

func stored(path string) (hashes, int64) {
	var all hashes
	count := int64(0)
	reader := bufio.NewReader(bytes.NewReader(read(path)))
	for {
		line, err := reader.ReadBytes('\n')
		if err != nil {
			return all, count
		}
		added, err := tlog.StoredHashes(count, bytes.TrimSuffix(line, []byte("\n")), all)
		check(err)
		all = append(all, added...)
		count++
	}
}

func main() {
	verifier, err := note.NewVerifier(os.Args[2])
	check(err)
	switch os.Args[1] {
	case "log":
		all, count := stored(os.Args[3])
		for _, path := range os.Args[4:] {
			tree := opened(read(path), verifier)
			if tree.N > count {
				check(fmt.Errorf("%d entries, the checkpoint says %d", count, tree.N))
			}
			root, err := tlog.TreeHash(tree.N, all)
			check(err)
			if root != tree.Hash {
				check(fmt.Errorf("another root at %d", tree.N))
			}
		}
	case "entry":
		index, path, text := proof(os.Args[4], "c2sp.org/tlog-proof@v1\nindex ")
		tree := opened(text, verifier)
		leaf := bytes.TrimSuffix(read(os.Args[3]), []byte("\n"))
		check(tlog.CheckRecord(tlog.RecordProof(path), tree.N, tree.Hash, index, tlog.RecordHash(leaf)))
	case "consistency":
		old, path, text := proof(os.Args[4], "old ")
		before, after := opened(read(os.Args[3]), verifier), opened(text, verifier)
		if before.N != old {
			check(fmt.Errorf("the proof is from %d on, the checkpoint of %d", old, before.N))
		}
		check(tlog.CheckTree(tlog.TreeProof(path), after.N, after.Hash, before.N, before.Hash))
	}
	fmt.Println("verified")
}
