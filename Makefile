.PHONY: demo test bench lint docs

demo:
	cargo run --release -- demo

test:
	cargo test
