// Renders Go templates with the real engine: JSON lines in, JSON lines out, one render per line.
//
// In:  {"template": "...", "data": {...}, "today": "2024-05-06", "structs": true}
// Out: {"text": "base64", "error": "..."}
//
// With "structs" the items of data.Messages become pointers to a struct, as a server hands them
// over; the functions and options are those a Modelfile TEMPLATE can count on.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"text/template"
	"time"
)

type request struct {
	Template string         `json:"template"`
	Data     map[string]any `json:"data"`
	Today    string         `json:"today"`
	Structs  bool           `json:"structs"`
}

type answer struct {
	Text  []byte `json:"text"`
	Error string `json:"error"`
}

type message struct {
	Role       string
	Content    string
	Thinking   string
	Images     []any
	ToolCalls  []any
	ToolName   string
	ToolCallID string
}

// numbers turns json.Number into int where it is one, else float64.
func numbers(value any) any {
	switch v := value.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return int(n)
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = numbers(v[key])
		}
	}
	return value
}

func messages(items []any) []*message {
	out := make([]*message, len(items))
	for i, item := range items {
		text, _ := json.Marshal(item)
		out[i] = new(message)
		json.Unmarshal(text, out[i])
	}
	return out
}

func render(r request) (string, error) {
	today, err := time.Parse("2006-01-02", r.Today)
	if err != nil {
		return "", err
	}
	functions := template.FuncMap{
		"json":          func(v any) string { text, _ := json.Marshal(v); return string(text) },
		"currentDate":   func(...string) string { return today.Format("2006-01-02") },
		"yesterdayDate": func(...string) string { return today.AddDate(0, 0, -1).Format("2006-01-02") },
	}
	parsed, err := template.New("").Option("missingkey=zero").Funcs(functions).Parse(r.Template)
	if err != nil {
		return "", err
	}
	data, _ := numbers(r.Data).(map[string]any)
	if items, ok := data["Messages"].([]any); ok && r.Structs {
		data["Messages"] = messages(items)
	}
	var out bytes.Buffer
	err = parsed.Execute(&out, data)
	return out.String(), err
}

func main() {
	in := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	decoder := json.NewDecoder(in)
	decoder.UseNumber()
	for decoder.More() {
		var r request
		if err := decoder.Decode(&r); err != nil {
			panic(err)
		}
		text, err := render(r)
		a := answer{Text: []byte(text)}
		if err != nil {
			a.Error = err.Error()
		}
		out.Encode(a)
	}
}
