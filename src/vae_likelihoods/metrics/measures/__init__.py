"""What metrics compute with, apart from any model: functions of points and images, and features of images."""
