# Three lines a request: two to the standard error around a wait, one by Ruby's logger to the standard output.
require 'logger'

$stdout.sync = true
LOG = Logger.new($stdout)

run(lambda do |env|
  number = env['QUERY_STRING'][/id=(\d+)/, 1]
  warn "INFO begin rid=#{number}"
  sleep(number.to_i * 7 % 5 / 1000.0)
  $stderr.puts "WARN fine rid=#{number}"
  LOG.info("end rid=#{number}")
  [200, { 'content-type' => 'text/plain', 'content-length' => '2' }, ['ok']]
end)
