# What one request causes: calls over a pool of kept connections that all threads share, one given up, one refused, two
# from threads of their own, and one more at the end. Every call goes to the leaf (NEXT: PORT/path; SCHEME: https for TLS) and repeats the
# request's number.
require 'net/http'
require 'socket'

PORT = ENV.fetch('NEXT').split('/').first.to_i
POOL = Queue.new
REFUSING = TCPServer.open('127.0.0.1', 0) { |server| server.addr[1] }

def open_connection(port, read_timeout)
  http = Net::HTTP.new('127.0.0.1', port, nil)
  # A call that is given up is not asked again behind the program's back.
  http.max_retries = 0
  http.keep_alive_timeout = 60
  http.read_timeout = read_timeout
  http.use_ssl = ENV['SCHEME'] == 'https'
  http
end

def pooled
  begin
    http = POOL.pop(true)
  rescue ThreadError
    http = open_connection(PORT, 30).start
  end
  yield http
ensure
  POOL << http if http
end

def get(path, number)
  pooled { |http| http.get("/#{path}?id=#{number}").code.to_i }
end

def given_up(number)
  http = open_connection(PORT, 0.001 + rand * 0.004)
  http.start { http.get("/cancelled?id=#{number}") }
  200
rescue Net::ReadTimeout
  200
end

def refused
  open_connection(REFUSING, 1).start { 500 }
rescue Errno::ECONNREFUSED
  200
end

run(lambda do |env|
  number = env['QUERY_STRING'][/id=(\d+)/, 1]
  sleep rand * 0.004
  codes = [get('a', number)]
  codes << refused << given_up(number)
  codes += %w[x y].map { |path| Thread.new { get(path, number) } }.map(&:value) if ENV['FANOUT']
  sleep rand * 0.002
  codes << get('last', number)
  body = "ruby #{number}\n"
  [codes.max, { 'content-type' => 'text/plain', 'content-length' => body.bytesize.to_s }, [body]]
end)
