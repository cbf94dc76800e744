# WAV files of 16 bit mono: a list of chunks, each a name, a size, and as many bytes.
module Wav
  # The rate and the samples of a file.
  def self.read(path)
    file = File.binread(path)
    hertz = nil
    if file.start_with?('RIFF')
      at = 12
      while at + 8 <= file.size
        name, size = file[at, 8].unpack('a4V')
        format, channels, rate, bits = file[at + 8, 16].unpack('vvVx6v')
        hertz = rate if name == 'fmt ' && [format, channels, bits] == [1, 1, 16]
        return hertz, file[at + 8, size] if name == 'data' && hertz
        at += 8 + size
      end
    end
    raise "#{path} is not a WAV file of 16 bit mono"
  end

  def self.write(path, hertz, samples)
    format = [1, 1, hertz, 2 * hertz, 2, 16].pack('vvVVvv')
    head = ['RIFF', 36 + samples.bytesize, 'WAVE', 'fmt ', 16, format, 'data', samples.bytesize]
    File.binwrite(path, head.pack('a4Va4a4Va16a4V') + samples)
  end
end
